"""The MONAI bundles, each complete in its own folder."""
