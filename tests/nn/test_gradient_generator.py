"""The generator: gradient steps over labelled rows, what it asks of them, and its file."""

import math

import pytest
import torch
from safetensors import SafetensorError

import tiny_language
from sartor.errors import TaskError
from sartor.nn import generator_file
from sartor.nn.anchored import join
from sartor.nn.condition import Condition, Sentences, tensors
from sartor.nn.decoder import rows_of, sites
from sartor.nn.generator import Generator
from sartor.nn.gradient_steps import RATE, GradientSteps
from sartor.nn.support_rows import SupportRows
from sartor.nn.teacher_forcing import Batch, answer_losses, write
from sartor.types import Example

SITES = {"model.layers.1.mlp.down_proj": (3, 5), "model.layers.2.mlp.down_proj": (4, 2)}
CPU = torch.device("cpu")
MODEL = tiny_language.model()
ANCHOR = tiny_language.anchor(MODEL.decoder)
ROWS = [Example(f"{word} {at}", word.upper()) for word in ("red", "blue") for at in range(3)]


def steps(seed=None, **options):
    torch.manual_seed(0)
    made = GradientSteps(SITES, rank=2, **options).double()
    if seed is not None:
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return made


def gradients(conditions=2, seed=0, scale=1.0):
    random = torch.Generator().manual_seed(seed)
    return {
        path: scale * torch.randn(conditions, outputs, 2, generator=random, dtype=torch.float64)
        for path, (outputs, _) in SITES.items()
    }


def taken(made, given, loss=(2.0, 2.0), rows=(3, 3), step=0):
    return made(step, given, torch.tensor(loss, dtype=torch.float64), torch.tensor(rows))


# --- steps -------------------------------------------------------------------------------------------------


def test_without_training_a_step_is_a_plain_one_of_the_same_length_whatever_the_gradients():
    for scale in (1e-6, 1.0, 1e6):
        given = gradients(scale=scale)
        found = taken(steps(), given)
        size = torch.stack([part.square().mean(dim=(1, 2)) for part in given.values()]).mean(dim=0).sqrt()
        for path in SITES:
            torch.testing.assert_close(found[path], RATE * given[path] / size[:, None, None], rtol=1e-5, atol=0)


def test_a_condition_without_rows_takes_no_step():
    found = taken(
        steps(seed=1),
        {path: part * torch.tensor([1.0, 0.0])[:, None, None] for path, part in gradients().items()},
        rows=(3, 0),
    )
    assert all(part[0].abs().min() > 0 and not part[1].any() for part in found.values())


def test_conditions_do_not_depend_on_those_beside_them():
    made, given = steps(seed=1), gradients()
    both = taken(made, given, loss=(1.0, 3.0), rows=(2, 9))
    alone = taken(made, {path: part[1:] for path, part in given.items()}, loss=(3.0,), rows=(9,))
    for path in SITES:
        torch.testing.assert_close(both[path][1:], alone[path])


def test_what_is_learned_keeps_the_sign_and_is_bounded():
    made, given = steps(seed=1), gradients()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=100.0)
    plain, found = taken(steps(), given), taken(made, given)
    for path in SITES:
        ratio = found[path] / plain[path]
        assert ratio.min() >= math.exp(-4.5) - 1e-9
        assert ratio.max() <= math.exp(4.5) + 1e-6


def test_a_step_depends_on_the_loss_the_rows_and_its_number():
    made, given = steps(seed=1, steps=2), gradients()
    first = taken(made, given)
    for other in (taken(made, given, loss=(0.1, 0.1)), taken(made, given, rows=(16, 16)), taken(made, given, step=1)):
        assert all((first[path] - other[path]).abs().max() > 1e-6 for path in SITES)


def test_golden():
    made = steps(steps=2)
    with torch.no_grad():
        for at, parameter in enumerate(made.parameters()):
            numbers = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_(0.2 * torch.sin((1 + at) * numbers + at).view_as(parameter))
    given = {
        path: torch.cos(torch.arange(2.0 * outputs, dtype=torch.float64)).view(1, outputs, 2)
        for path, (outputs, _) in SITES.items()
    }
    found = taken(made, given, loss=(1.5,), rows=(4,), step=1)
    assert [part[0, 1, 0].item() for part in found.values()] == pytest.approx(GOLDEN, rel=1e-9)


GOLDEN = [-0.0016715280539009426, -0.0004857136474233906]


def test_no_steps_are_refused():
    with pytest.raises(TaskError, match="at least one gradient step"):
        steps(steps=0)


# --- the generator -----------------------------------------------------------------------------------------


def told(*conditions):
    texts = sorted({text for one in conditions for text in (one.description or "", *one.prompts)})
    drawn = torch.randn(len(texts), tiny_language.READER_WIDTH, generator=torch.Generator().manual_seed(0))
    sentences = Sentences(texts, torch.nn.functional.normalize(drawn, dim=-1).numpy())
    supports = [one.support for one in conditions]
    return sentences(conditions, CPU), SupportRows.of(MODEL, supports, ANCHOR, 1)


def test_each_step_is_better_on_the_rows():
    generator = tiny_language.generator(MODEL.decoder)
    conditions, rows = told(Condition(support=tuple(ROWS)))
    found = generator.start(conditions)
    losses = [float(rows(found).detach())]
    for step in range(2):
        found = generator.stepped(found, step, rows)
        losses.append(float(rows(found).detach()))
    assert losses == sorted(losses, reverse=True)
    whole = generator(conditions, rows)
    assert all(torch.equal(whole[path][1], found[path][1]) for path in found)


def test_a_gradient_reaches_what_is_learned_but_not_through_the_base():
    generator = tiny_language.generator(MODEL.decoder)
    conditions, rows = told(Condition(support=tuple(ROWS)), Condition("say it"))
    made = generator(conditions, rows)
    batch = Batch.of([write(MODEL, row) for row in ROWS[:2]], CPU)
    joined = rows_of(join(ANCHOR, made, 1.0), torch.tensor([0, 1]))
    answer_losses(MODEL, batch, joined, 1).sum().backward()
    reached = {
        name for name, parameter in generator.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }
    assert {"gradient.columns", "gradient.gate.weight", "head.small.weight", "encoder.null"} <= reached
    assert any(name.startswith("head.v.") for name in reached)
    assert any(name.startswith("gradient.outputs.") for name in reached)
    assert all(parameter.grad is None for parameter in MODEL.decoder.parameters())


def test_rows_of_a_condition_are_those_of_no_other():
    generator = tiny_language.generator(MODEL.decoder)
    one, other = Condition(support=tuple(ROWS[:2])), Condition(support=tuple(ROWS[2:]))
    together = generator(*told(one, Condition("say it"), other))
    for at, condition in ((0, one), (2, other)):
        alone = generator(*told(condition))
        for path, (_, b) in together.items():
            torch.testing.assert_close(b[at], alone[path][1][0], atol=2e-3, rtol=2e-2)  # bfloat16 in between


def test_rows_are_asked_with_the_anchor_and_their_mean_is_taken():
    empty = tiny_language.generator(MODEL.decoder).start(tensors([Condition()], lambda text: None, 32, CPU))
    rows = SupportRows.of(MODEL, [ROWS[:3], [], ROWS[3:]], ANCHOR, 1)
    three = {path: (a.expand(3, -1, -1), torch.zeros_like(b).expand(3, -1, -1)) for path, (a, b) in empty.items()}
    found = rows(three)
    batch = Batch.of([write(MODEL, row) for row in ROWS], CPU)
    losses = answer_losses(MODEL, batch, ANCHOR, 1)
    torch.testing.assert_close(
        found, torch.stack([losses[:3].mean(), losses.new_zeros(()), losses[3:].mean()]), atol=0.02, rtol=0.01
    )
    assert rows.count_G.tolist() == [3, 0, 3]
    assert SupportRows.of(MODEL, [[], []], ANCHOR, 1) is None


# --- the file ----------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    generator = tiny_language.generator(MODEL.decoder)
    path = tmp_path / "generator.safetensors"
    generator_file.write(path, ANCHOR, generator.state_dict(), tiny_language.bounds(MODEL.decoder))
    return path


def test_what_was_written_is_read(stored):
    found = generator_file.read(stored.read_bytes(), sites(MODEL.decoder))
    assert list(found.anchor) == [path for path in sites(MODEL.decoder) if path in ANCHOR]
    assert found.layer == 1
    assert all(torch.equal(found.anchor[path][0], ANCHOR[path][0].half().float()) for path in ANCHOR)
    again = tiny_language.generator(MODEL.decoder).state_dict()
    assert {name: tensor.shape for name, tensor in found.generator.state_dict().items()} == {
        name: tensor.shape for name, tensor in again.items()
    }
    assert all(torch.equal(tensor, again[name].half().float()) for name, tensor in found.generator.state_dict().items())
    assert found.bounds.spectral == pytest.approx(tiny_language.bounds(MODEL.decoder).spectral, rel=1e-6)


@pytest.mark.parametrize("end", [0, 7, 100, -1])
def test_a_file_that_is_cut_off_is_refused(stored, end):
    with pytest.raises(SafetensorError):
        generator_file.read(stored.read_bytes()[:end], sites(MODEL.decoder))


def test_a_rank_is_told_by_the_shapes_alone(tmp_path):
    here = {path: shape for path, shape in sites(MODEL.decoder).items() if path in ANCHOR}
    made = Generator(here, rank=5, steps=4, width=12, sentence=7)
    found = generator_file.restored(here, made.state_dict())
    assert (found.rank, found.gradient.steps, found.encoder.inputs) == (5, 4, 7)
