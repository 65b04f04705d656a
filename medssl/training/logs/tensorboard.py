"""The TensorBoard log of a run: every metric of each epoch, and pictures of the puzzles."""

from pathlib import Path

from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch.utils.tensorboard import SummaryWriter

from medssl.pretext import PretextModel, PretextModelOutput

from ..steps import step_output
from .pictures import draw_puzzles


class TensorBoardLog:
    """Write ``engine.state.metrics`` after each epoch, and for a pre-training the puzzles of its last batch.

    MONAI's ``TensorBoardStatsHandler`` knows no puzzles, and leaves what an interrupted run logged after its last
    checkpoint beside what the resumed run logs.

    Args:
        output_dir: folder of the run, where the event file stands.
        model: the tasks whose puzzles are drawn; None for none.
        pictures_every: epochs between two pictures; the first and the last epoch have one.
    """

    def __init__(self, output_dir: str | Path, model: PretextModel | None = None, pictures_every: int = 10) -> None:
        self.output_dir = Path(output_dir)
        self.model = model
        self.pictures_every = pictures_every
        self._writer: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the handlers that make the metrics."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE | Events.INTERRUPT, self.close)

    def write(self, engine: Engine) -> None:
        """Log the epoch that ended."""
        epoch = engine.state.epoch
        if self._writer is None:
            # A resumed run hides what an interrupted one logged after its last checkpoint.
            self._writer = SummaryWriter(str(self.output_dir), purge_step=epoch)
        for name, value in engine.state.metrics.items():
            self._writer.add_scalar(name, value, epoch)
        if self.model is not None and (epoch in (1, engine.state.max_epochs) or epoch % self.pictures_every == 0):
            self._write_pictures(self._writer, step_output(engine)[CommonKeys.PRED], epoch)
        self._writer.flush()

    def close(self, engine: Engine) -> None:
        """End the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write_pictures(self, writer: SummaryWriter, output: PretextModelOutput, epoch: int) -> None:
        assert self.model is not None
        for name, task in output.tasks.items():
            if task.pictures is not None:
                describe = self.model.all_tasks[name].describe
                figure = draw_puzzles(
                    task.pictures, describe, self.model.backbone.spatial_dims, title=f"{name}, epoch {epoch}"
                )
                writer.add_figure(f"{name}/puzzle", figure, epoch)
