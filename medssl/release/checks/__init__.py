"""The checks of a bundle: each takes a `Bundle` and yields a sentence, or raises a `UserError`, for what is wrong."""
