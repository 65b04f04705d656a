"""When a training is validated."""

from ignite.engine import Engine, Events
from monai.handlers import ValidationHandler


class ValidateEpochs(ValidationHandler):
    """MONAI's ``ValidationHandler`` for whole epochs, which looks at the last one, too, whatever the interval is.

    Without that, a training whose epochs are no multiple of the interval leaves its last model unseen.

    Args:
        interval: epochs between two validations.
        validator: a ``SupervisedEvaluator``.
    """

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.validate)

    def validate(self, engine: Engine) -> None:
        """Validate, if the epoch has come."""
        if engine.state.epoch % self.interval == 0 or engine.state.epoch == engine.state.max_epochs:
            self(engine)
