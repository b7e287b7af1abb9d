"""Work done in a run, and the remaining time at the pace so far."""

from typing import NamedTuple


class Work(NamedTuple):
    """Of a stage: its epochs, at most, and what each costs (images times passes through the network)."""

    epochs: int
    cost: float


WorkPlan = dict[str, dict[str, Work]]  # by phase and stage, in order


class _Pace:
    def __init__(self) -> None:
        self.seconds, self.work = 0.0, 0.0

    def add(self, seconds: float, work: float) -> None:
        self.seconds += seconds
        self.work += work

    @property
    def per_work(self) -> float:
        return self.seconds / self.work if self.work else 0.0


class TimeLeft:
    """The rest of a phase is estimated at its own pace, later phases at the pace of the whole run.

    Time besides the epochs (compilation, evaluation) is expected of every later stage. Work done by an earlier run
    counts as done, not for the pace.
    """

    def __init__(self, plan: WorkPlan) -> None:
        self._plan = {phase: dict(stages) for phase, stages in plan.items()}
        self._done: dict[tuple[str, str], float] = {}  # epochs
        self._phase = self._stage = ''
        self._of_phase, self._of_all = _Pace(), _Pace()
        self._besides: list[float] = []  # seconds, a stage each

    def begin(self, phase: str, stage: str, work: Work, done: float) -> None:
        """Starts a stage after `done` epochs; `work` is used if the plan does not have the stage."""
        stages = self._plan.setdefault(phase, {})
        stages.setdefault(stage, work)
        for before in list(stages)[: list(stages).index(stage)]:
            self._done[phase, before] = stages[before].epochs
        if phase != self._phase:
            self._of_phase = _Pace()
        self._phase, self._stage = phase, stage
        self._done[phase, stage] = done

    def trained(self, done: float, seconds: float, besides: float | None = None) -> None:
        """Records `done` epochs of the stage; the last took `seconds`, the start of the stage `besides`."""
        work = (done - self._done[self._phase, self._stage]) * self._plan[self._phase][self._stage].cost
        self._of_phase.add(seconds, work)
        self._of_all.add(seconds, work)
        self._done[self._phase, self._stage] = done
        if besides is not None:
            self._besides.append(besides)

    def finish(self, phase: str) -> None:
        self._plan.pop(phase, None)

    @property
    def is_known(self) -> bool:
        return self._of_all.work > 0

    def seconds(self) -> tuple[float, float]:
        """Seconds left of the phase, and of all phases."""
        here = self._work_left(self._phase) * (self._of_phase.per_work or self._of_all.per_work)
        later = sum(self._work_left(phase) for phase in self._plan if phase != self._phase) * self._of_all.per_work
        begun = self._done.keys()
        coming = sum((phase, stage) not in begun for phase, stages in self._plan.items() for stage in stages)
        return here, here + later + coming * sum(self._besides) / max(len(self._besides), 1)

    def epochs(self) -> tuple[float, int]:
        """Epochs of the phase that are done, and all of them."""
        stages = self._plan[self._phase]
        done = sum(self._done.get((self._phase, stage), 0.0) for stage in stages)
        return done, sum(work.epochs for work in stages.values())

    def share_done(self, more: float = 0.0) -> float:
        """The share of the phase's work that is done, with `more` epochs of the stage; 0 to 1."""
        stages = self._plan[self._phase]
        whole = sum(work.epochs * work.cost for work in stages.values())
        return 1 - (self._work_left(self._phase) - more * stages[self._stage].cost) / whole

    def _work_left(self, phase: str) -> float:
        stages = self._plan.get(phase, {})
        return sum((work.epochs - self._done.get((phase, stage), 0.0)) * work.cost for stage, work in stages.items())
