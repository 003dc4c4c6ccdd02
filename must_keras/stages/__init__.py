"""What `--stage` names: one file each."""
