"""Samples rendered again take the place of stored ones in a new version; all other rows and shards stay.

What is rendered is the recipe that was recorded: another software, or a whole disk, gives other bytes. A recipe that
cannot be read any more, or was edited, is drawn again from config, seed and library, and must have the recorded hash.
A sample that today's checks refuse is not stored: the old one stays and is named. Next: `synth.store_revision` for how
the new ones become part of the dataset.
"""

import time
from collections.abc import Iterator
from functools import partial

import numpy as np

from synth.codec import stored, with_flags
from synth.config import RenderConfig
from synth.errors import UserError
from synth.pipeline_env import why_refused
from synth.pipeline_worker import environment
from synth.randomize import Library, draw_recipe
from synth.recipe import SceneRecipe, canonical_sha256, sample_id
from synth.sample import BadSample, check
from synth.store import Dataset
from synth.store_index import Manifest, commit, read_manifest
from synth.store_record import StoreError
from synth.store_revision import Kind, Revision, read_plan, revisions_in_effect
from synth.store_row import make_row
from synth.store_write import Run
from synth.version_rerender import Again, Answer, Machine, answers


class Replacing(Again):
    """Renderers that make samples of a dataset again and stage them for a revision."""

    def __init__(self, dataset: Dataset, machine: Machine, revision: Revision, library: Library | None):
        """library: what recipes are drawn from that cannot be read any more."""
        super().__init__(dataset, machine)
        self._revision, self._library = revision, library
        self._config, self._seed = RenderConfig.model_validate(dataset.spec["config"]), dataset.spec["seed"]
        self._env_ids: dict[str, str] = {}  # by engine

    def answer(self, position: int) -> Answer:
        """Makes the sample at a position again, stages it, and compares."""
        dataset, row = self._dataset, self._dataset.row(position)
        recipe = self._recipe(position, row["attempt"])
        renderer = self.renderer(recipe)
        env_id = self._join(recipe.film.engine, environment(renderer))
        env = self.env_differences(position, renderer)
        started = time.process_time()
        try:
            members, after = stored(renderer.render(recipe))
            flags = check(after, self._config.checks)
        except BadSample as error:
            return Answer(recipe.index, "DIFFERENT", f"refused as {error}; the stored one stays", env)
        seconds = time.process_time() - started
        members = with_flags(members, after, flags)
        new = make_row(after, members, flags=flags, env_id=env_id, seconds=seconds, refused=row["refused"])
        self._revision.staging.write(members, new)
        try:
            before = dataset.read(position, verify=True)
        except StoreError as error:
            return Answer(recipe.index, "DIFFERENT", f"the stored one is damaged ({error})", env, staged=True)
        return Answer(recipe.index, *self.judge(position, before, members, after), env, staged=True)

    def _recipe(self, position: int, attempt: int) -> SceneRecipe:
        """The recorded recipe. Raises StoreError when it is neither there nor can be drawn."""
        dataset, index = self._dataset, int(self._dataset.ids[position])
        recorded, _ = dataset.hashes(position)
        try:
            recipe = dataset.recipe(position)
            fault = "was edited"
        except StoreError as error:
            recipe, fault = None, f"cannot be read ({error})"
        if recipe is not None and canonical_sha256(recipe) == recorded:
            return recipe
        if self._library is None:
            raise StoreError(
                f"{dataset.path}: sample {sample_id(index)}: its recipe {fault}; with --scans and --backgrounds, as "
                "for render, it is drawn again"
            )
        recipe = draw_recipe(self._config, self._library, self._seed, index, attempt)
        if canonical_sha256(recipe) != recorded:
            raise StoreError(
                f"{dataset.path}: sample {sample_id(index)}: its recipe {fault}, and --scans and --backgrounds are not "
                "what it was drawn from"
            )
        return recipe

    def _join(self, engine: str, facts: dict[str, str]) -> str:
        """The env_id of an engine's environment, remembered unless the revision was begun by other versions."""
        if engine not in self._env_ids:
            refused = why_refused(self._revision.environments(), [facts], one_class=False)
            if refused:
                raise UserError(f"{refused}: finish this re-render with the versions it was begun with")
            self._env_ids[engine] = self._revision.add_environment(facts)
        return self._env_ids[engine]


def replace(
    dataset: Dataset, revision: Revision, machine: Machine, library: Library | None, workers: int
) -> Iterator[Answer]:
    """Renders and stages what the revision still lacks, and seals it shard by shard; an answer for each sample made.

    Raises StoreError when a recipe is lost, and what a renderer raises that cannot start.
    """
    sealed, staged = set(revision.sealed()), revision.staging.sound_ids()
    waiting = [chunk for chunk in revision.chunks if chunk not in sealed]
    todo = [index for chunk in waiting for index in chunk if index not in staged]
    if not todo and not waiting:
        return
    making = answers(
        partial(Replacing, dataset, machine, revision, library), np.searchsorted(dataset.ids, todo).tolist(), workers
    )
    for chunk in waiting:
        for index in chunk:
            if index not in staged:
                answer = next(making)
                if answer.staged:
                    staged.add(index)
                yield answer
        kept = [index for index in chunk if index in staged]
        if kept:
            revision.seal(chunk, kept, revision.staging.take)
    making.close()


def finish(dataset: Dataset, revision: Revision, processes: int) -> Manifest | None:
    """The new version; None when every sample is what is stored, byte for byte, from the same environment.

    processes: see `synth.store_gather.gather_rows`.
    """
    if not _changes(dataset, revision):
        revision.discard()
        return None
    revision.put_in_effect()
    return commit(revision.run, lineage={}, processes=processes)


def finish_interrupted(run: Run, kind: Kind, processes: int) -> tuple[int, ...] | None:
    """Commits a revision whose command died between putting it in effect and the new version.

    Returns its ids if it was of this kind, None if there was none.
    """
    latest, effective = read_manifest(run.folder), revisions_in_effect(run)
    if latest is None or len(latest.get("revisions", ())) >= len(effective):
        return None
    commit(run, lineage={}, processes=processes)
    plan = read_plan(run, effective[-1].plan)
    return plan.ids if plan is not None and plan.kind == kind else None


def _changes(dataset: Dataset, revision: Revision) -> bool:
    """Whether any sealed sample differs from the dataset's, was made in another environment, or mends damaged bytes."""
    env_ids = dataset.column("env_id")
    for chunk in revision.sealed():
        for row in revision.patch(chunk).rows:
            position = int(np.searchsorted(dataset.ids, row.index))
            before = dataset.contents[position].tobytes().hex(), env_ids[position]
            if before != (row.content_sha256, row.env_id):
                return True
            try:
                dataset.members(position, verify=True)
            except StoreError:
                return True
    return False
