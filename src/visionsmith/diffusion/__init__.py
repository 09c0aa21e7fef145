"""Parts of diffusion that belong to no model: what is predicted, how errors are weighed."""
