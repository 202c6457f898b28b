"""The device: what is compiled before training is what training runs; a machine without a compiler trains all the same."""

import time
from dataclasses import replace

import pytest
import torch

from yzlin import device
from yzlin.device import Threads, autocast, compiled, pick_device, pick_dtype
from yzlin.model import ModelArgs, yzlinGPT
from yzlin.presets import PRESETS
from yzlin.train import train

TINY = ModelArgs(block_size=8, vocab_size=32, n_layer=1, n_head=1, n_embed=8)


@pytest.fixture
def graphs(monkeypatch):
    """Every graph that torch.compile hands to its compiler: a stub that counts them and runs them as they are."""
    seen = []
    torch_compile = torch.compile

    def count(graph, inputs):
        seen.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(device.torch, "compile", lambda model: torch_compile(model, backend=count))
    yield seen
    torch._dynamo.reset()


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 32, (2, 9), generator=generator)  # 0 and 1 are special to the compiler
    return ids[:, :-1], ids[:, 1:]


def test_the_graph_that_is_trained_is_the_one_compiled_before(graphs):
    model = yzlinGPT(TINY)
    fast = compiled(model, [batch(0), batch(5)], "bfloat16")
    ready = len(graphs)
    assert ready > 0 and all(p.grad is None for p in model.parameters())
    for seed in range(1, 5):
        with autocast(torch.device("cpu"), "bfloat16"):
            loss = fast(*batch(seed))[1]
        loss.backward()
    assert len(graphs) == ready  # nothing was compiled while training
    fast(*batch(1))  # a control: without autocast it is another graph, and the stub sees it
    assert len(graphs) > ready


def test_the_first_speed_leaves_compilation_out(graphs, book_data, tmp_path):
    """In a whole run all graphs are compiled when the first row is written: its lap begins after that."""
    shape = dict(n_layer=1, n_head=1, n_embed=8, block_size=16, batch_size=2, accumulation=2, dropout=0.1)
    schedule = dict(max_iters=4, eval_interval=2, eval_iters=1, eval_stories=0, log_interval=1)
    machine = dict(device="cpu", dtype="bfloat16", compile=True)
    args = replace(PRESETS["cpu"], data=str(book_data), out=str(tmp_path / "run"), **shape, **schedule, **machine)
    seen = []
    train(args, on_log=lambda row: seen.append((row["iter"], row["tokens_per_s"], len(graphs))), progress=False)
    assert [number for number, _, _ in seen] == [0, 1, 2, 3, 4]
    assert seen[0][1] is None and all(speed > 0 for _, speed, _ in seen[1:])
    assert {count for _, _, count in seen} == {len(graphs)} and graphs


def test_compiling_leaves_the_random_numbers_as_they_were(graphs):
    torch.manual_seed(0)
    model = yzlinGPT(replace(TINY, dropout=0.5))
    before = torch.get_rng_state()
    compiled(model, [batch(0), batch(1)], "float32")
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_compiler_the_model_is_trained_as_it_is(monkeypatch, capsys):
    def missing(model):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(device.torch, "compile", missing)
    model = yzlinGPT(TINY)
    assert compiled(model, [batch(0), batch(1)], "float32") is model
    assert capsys.readouterr().out.count("\n") == 1


def test_too_little_memory_is_not_taken_for_a_missing_compiler(monkeypatch):
    def full(model):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(device.torch, "compile", full)
    with pytest.raises(torch.OutOfMemoryError):
        compiled(yzlinGPT(TINY), [batch(0), batch(1)], "float32")


def test_too_little_memory_while_compiling_is_not_taken_for_a_missing_compiler(monkeypatch):
    """As Inductor says it where a trial of a kernel found no memory."""

    def full(model):
        raise RuntimeError("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(device.torch, "compile", full)
    with pytest.raises(torch.OutOfMemoryError, match="2.00 GiB"):
        compiled(yzlinGPT(TINY), [batch(0), batch(1)], "float32")


@pytest.mark.parametrize(
    ("error", "works"),
    [
        (RuntimeError("CUDA error: no kernel image is available for execution on the device"), False),
        (torch.OutOfMemoryError("CUDA out of memory"), True),  # somebody else computes there
        (RuntimeError("CUDA error: out of memory"), True),  # there is not even room for its context
    ],
)
def test_a_card_for_which_this_pytorch_has_no_code_is_not_chosen(error, works, monkeypatch):
    """Each process of a job asks its own card alone."""
    asked = []

    def ones(*shape, device):
        asked.append(device)
        raise error

    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(device.torch, "ones", ones)
    device.cuda_works.cache_clear()
    try:
        assert pick_device().type == ("cuda" if works else "cpu")
        assert asked == ["cuda:2"]
    finally:
        device.cuda_works.cache_clear()


def test_what_is_not_there_is_named():
    with pytest.raises(ValueError, match="not known"):
        pick_device("abacus")
    with pytest.raises(ValueError, match="not there on this machine"):
        pick_device("cuda:99")
    with pytest.raises(ValueError, match="dtype float8"):
        pick_dtype("float8", torch.device("cpu"))
    assert pick_dtype("float16", torch.device("cpu")) == "float16"


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def sleeper(seconds: dict[int, float]):
    """A step that takes so many seconds with so many threads, and no processor time: as on a machine that others use."""
    return lambda: time.sleep(seconds[torch.get_num_threads()])


def test_fewer_threads_while_they_are_faster_and_all_again_afterwards(two_threads):
    with Threads(torch.device("cpu"), patience=0.05) as threads:
        assert str(threads) == ""
        for _ in range(40):
            threads.run(sleeper({1: 0.005, 2: 0.02}))
        assert torch.get_num_threads() == 1 and "1 of 2 threads" in str(threads)
        for _ in range(400):
            threads.run(sleeper({1: 0.02, 2: 0.005}))
            if not threads.seconds and torch.get_num_threads() == 2:
                break
        assert torch.get_num_threads() == 2 and str(threads) == ""


@pytest.mark.parametrize(("slow", "turns"), [(0.04, 1), (0.015, 3)])
def test_a_race_is_run_in_turns_and_costs_a_fiftieth(two_threads, slow, turns):
    """A number of threads that takes twice as long as another has one turn, for each of them is lost."""
    ran = []

    def step():
        ran.append(torch.get_num_threads())
        time.sleep({1: 0.01, 2: slow}[ran[-1]])

    with Threads(torch.device("cpu"), patience=0.05) as threads:
        while len(ran) < 400:
            threads.run(step)
    first = ran.index(1)
    race = ran[first - 1 : first + 2 + turns]
    assert race[:2] == [2, 1] and race.count(1) == 3 and race.count(2) == turns
    settled = ran[first + 2 + turns :]
    lost = settled.count(2) * (slow - 0.01)
    assert lost < 0.04 * len(settled) * 0.01  # twice a fiftieth, for a machine with hiccups


def test_steps_that_get_their_cores_are_never_raced(two_threads, monkeypatch):
    """Two repetitions of a run on an idle machine are equal to the bit only where the threads stay the same."""
    clock = [0.0]
    monkeypatch.setattr(device.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(device.time, "process_time", lambda: 1.95 * clock[0])  # 97.5% of two cores
    seen = set()

    def step():
        seen.add(torch.get_num_threads())
        clock[0] += 0.05

    with Threads(torch.device("cpu"), patience=0.5) as threads:
        for _ in range(200):
            threads.run(step)
    assert seen == {2}


@pytest.mark.parametrize("why", ["gpu", "processes", "variable", "one thread"])
def test_threads_stay_where_it_does_not_apply(two_threads, monkeypatch, why):
    if why == "variable":
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    if why == "one thread":
        torch.set_num_threads(1)
    chosen = torch.device("cuda" if why == "gpu" else "cpu")  # only its name is read
    with Threads(chosen, 2 if why == "processes" else 1, patience=0.01) as threads:
        before = torch.get_num_threads()
        for _ in range(30):
            threads.run(sleeper({1: 0.001, 2: 0.002}))
            assert torch.get_num_threads() == before


def test_all_threads_are_given_back_after_an_error(two_threads):
    with pytest.raises(KeyboardInterrupt), Threads(torch.device("cpu"), patience=0.01) as threads:
        while torch.get_num_threads() == 2:
            threads.run(sleeper({1: 0.001, 2: 0.005}))
        raise KeyboardInterrupt
    assert torch.get_num_threads() == 2
