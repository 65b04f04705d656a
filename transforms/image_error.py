"""The error of every reader here: an image that cannot be used, with the reason in a word or three."""


class UnusableImageError(ValueError):
    """An image that cannot be used.

    Args:
        reason: in a word or three, the same for all images with this fault, such as ``empty file``.
        sentence: names the file, says what is wrong and what to do.
    """

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
