"""Pictures as arrays: reading and writing them, and changing them. Arrays in, arrays out."""
