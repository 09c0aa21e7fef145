"""What is wrong with an environment, and what a failed run's log says: causes, consequences, and what to do.

| question                       | module                                                  |
|--------------------------------|---------------------------------------------------------|
| is this environment sound?     | `live.examine` over a snapshot that `facts.gather` took |
| does torch compute, what fails? | `deep.examine_deep`, in child processes                 |
| what does this log say?        | `match.diagnose` over the causes in `causes/*.toml`     |

Nothing here installs anything, uses the network, or imports torch into this process.
"""
