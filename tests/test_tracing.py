"""One contract for Trace and TraceDict, whoever wrote them, and what ours do better.

EMOLIB_UPSTREAM_NETHOOK names a file (baukit's nethook.py) to run the contract against too.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from emolib import tracing
from emolib.tracing import OwnTrace, OwnTraceDict, StopForward, get_module, hook_count


def _upstream():
    """Give the other implementations there are here, by name."""
    found = {}
    if importlib.util.find_spec("baukit"):
        found["baukit"] = importlib.import_module("baukit.nethook")
    if path := os.environ.get("EMOLIB_UPSTREAM_NETHOOK"):
        spec = importlib.util.spec_from_file_location("upstream_nethook", path)
        found["upstream"] = importlib.util.module_from_spec(spec)
        sys.modules["upstream_nethook"] = found["upstream"]
        spec.loader.exec_module(found["upstream"])
    return found


OWN = SimpleNamespace(Trace=OwnTrace, TraceDict=OwnTraceDict, StopForward=StopForward)
IMPLEMENTATIONS = {"own": OWN} | _upstream()


@pytest.fixture(params=IMPLEMENTATIONS)
def hook(request):
    return IMPLEMENTATIONS[request.param]


class InPlace(nn.Module):
    """Doubles its input in place, as some real layers do."""

    def forward(self, x):
        return x.mul_(2)


class Pair(nn.Module):
    """Takes two arguments and gives a dict of a tensor and a list."""

    def forward(self, x, y):
        return {"sum": x + y, "each": [x * 1, y * 1]}


@pytest.fixture
def net():
    """Give a small stack whose layers are a, b, c and inner.d."""
    torch.manual_seed(0)
    layers = {"a": nn.Linear(3, 4), "b": nn.ReLU(), "c": nn.Linear(4, 2)}
    net = nn.Sequential()
    for name, layer in layers.items():
        net.add_module(name, layer)
    net.add_module("inner", nn.Sequential())
    net.inner.add_module("d", nn.Tanh())
    return net


@pytest.fixture
def x():
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


class TestContract:
    def test_the_output_of_a_layer_is_kept_and_nothing_changes(self, hook, net, x):
        expected = net(x)
        with hook.Trace(net, "a") as trace:
            assert torch.equal(net(x), expected)
        assert torch.equal(trace.output, net.a(x))
        assert hook_count(net) == 0

    def test_the_latest_forward_is_the_one_kept(self, hook, net, x):
        with hook.Trace(net, "a") as trace:
            net(x)
            net(2 * x)
        assert torch.equal(trace.output, net.a(2 * x))

    def test_a_nested_path_is_found(self, hook, net, x):
        with hook.Trace(net, "inner.d") as trace:
            expected = net(x)
        assert torch.equal(trace.output, expected)

    def test_a_module_may_be_given_without_a_path(self, hook, net, x):
        with hook.Trace(net.c) as trace:
            net(x)
        assert torch.equal(trace.output, net.c(net.b(net.a(x))))

    def test_by_default_the_output_itself_is_kept_and_not_the_input(self, hook, net, x):
        with hook.Trace(net, "inner.d") as trace:
            output = net(x)
        assert trace.output is output
        assert not hasattr(trace, "input")

    def test_the_input_is_kept_on_request(self, hook, net, x):
        with hook.Trace(net, "c", retain_output=False, retain_input=True) as trace:
            net(x)
        assert torch.equal(trace.input, net.b(net.a(x)))
        assert not hasattr(trace, "output")

    def test_several_inputs_are_kept_as_a_tuple(self, hook, x):
        pair = Pair()
        with hook.Trace(pair, retain_input=True) as trace:
            pair(x, 2 * x)
        assert isinstance(trace.input, tuple)
        assert torch.equal(trace.input[1], 2 * x)

    @pytest.mark.parametrize("clone", [False, True])
    def test_a_clone_is_safe_from_changes_in_place(self, hook, net, x, clone):
        net.b = InPlace()
        with torch.no_grad(), hook.Trace(net, "a", clone=clone) as trace:
            net(x)
        expected = net.a(x) if clone else 2 * net.a(x)
        assert torch.equal(trace.output, expected)

    @pytest.mark.parametrize("detach", [False, True])
    def test_detach_cuts_the_kept_tensor_and_not_the_graph(self, hook, net, x, detach):
        with hook.Trace(net, "a", detach=detach) as trace:
            net(x).sum().backward()
        assert trace.output.requires_grad is not detach
        assert net.a.weight.grad is not None

    def test_copies_go_inside_dicts_and_lists(self, hook, x):
        pair, x = Pair(), x.requires_grad_()
        with hook.Trace(pair, clone=True, detach=True) as trace:
            output = pair(x, x)
        assert torch.equal(trace.output["sum"], output["sum"])
        assert trace.output["sum"] is not output["sum"]
        assert not trace.output["each"][1].requires_grad

    def test_retain_grad_gives_the_gradient_of_the_output(self, hook, net, x):
        with hook.Trace(net, "a", retain_grad=True) as trace:
            net(x).sum().backward()
        a = net.a(x).detach().requires_grad_()
        net[1:](a).sum().backward()
        assert torch.equal(trace.output.grad, a.grad)

    def test_retain_grad_works_with_frozen_weights_and_changes_in_place(self, hook, net, x):
        net.requires_grad_(False)
        net.b = InPlace()
        with hook.Trace(net, "a", retain_grad=True) as trace:
            net(x).sum().backward()
        assert trace.output.grad.abs().sum() > 0
        assert torch.equal(trace.output.detach(), net.a(x))

    @pytest.mark.parametrize(
        "edit",
        [
            lambda output: 2 * output,
            lambda output, layer: 2 * output if layer == "a" else None,
            lambda output, layer, inputs: 2 * output if len(inputs) == 1 else None,
            lambda inputs, output: 2 * output if isinstance(inputs, tuple) else None,
            lambda layer, output: 2 * output if layer == "a" else None,
            lambda o: 2 * o,
            lambda o, name: 2 * o if name == "a" else None,
            lambda o, name, args: 2 * o if isinstance(args, tuple) else None,
            lambda layer, o: 2 * o if layer == "a" else None,
            lambda o, *, layer: 2 * o if layer == "a" else None,
        ],
    )
    def test_an_edit_takes_what_it_names_and_the_rest_by_order(self, hook, net, x, edit):
        with hook.Trace(net, "a", edit_output=edit) as trace:
            output = net(x)
        assert torch.equal(trace.output, 2 * net.a(x))
        assert torch.equal(output, net[1:](2 * net.a(x)))

    def test_an_edit_can_use_the_inputs(self, hook, net, x):
        with hook.Trace(net, "c", edit_output=lambda output, inputs: inputs[0][:, :2]):
            output = net(x)
        assert torch.equal(output, net.inner(net.b(net.a(x))[:, :2]))

    def test_stop_ends_the_forward_and_keeps_the_output(self, hook, net, x):
        ran = []
        net.c.register_forward_hook(lambda *_: ran.append("c"))
        with hook.Trace(net, "a", stop=True) as trace:
            net(x)
            ran.append("after")
        assert ran == []
        assert torch.equal(trace.output, net.a(x))

    def test_a_dict_keeps_the_order_of_its_layers(self, hook, net, x):
        names = ["c", "a", "inner.d"]
        with hook.TraceDict(net, names) as traces:
            net(x)
        assert list(traces) == names
        assert torch.equal(traces["a"].output, net.a(x))
        assert torch.equal(traces["inner.d"].output, net(x))
        assert hook_count(net) == 0

    def test_a_layer_named_twice_is_traced_once(self, hook, net, x):
        with hook.TraceDict(net, ["a", "c", "a"]) as traces:
            assert hook_count(net) == 2
            net(x)
        assert list(traces) == ["a", "c"]

    def test_a_dict_stops_after_the_layer_named_last(self, hook, net, x):
        with hook.TraceDict(net, ["a", "b"], stop=True) as traces:
            net(x)
            pytest.fail("the forward should have stopped")
        assert torch.equal(traces["b"].output, net.b(net.a(x)))

    def test_options_may_differ_by_layer(self, hook, net, x):
        with hook.TraceDict(
            net,
            ["a", "b"],
            retain_input={"b": True},
            detach={"a": True},
            edit_output={"a": lambda output: output + 1},
        ) as traces:
            net(x)
        assert not hasattr(traces["a"], "input")
        assert torch.equal(traces["b"].input, net.a(x) + 1)
        assert not traces["a"].output.requires_grad
        assert traces["b"].output.requires_grad

    def test_one_edit_serves_all_layers_by_name(self, hook, net, x):
        seen = []
        with hook.TraceDict(
            net, ["a", "c"], edit_output=lambda output, layer: (seen.append(layer), output)[1]
        ):
            net(x)
        assert seen == ["a", "c"]

    @pytest.mark.parametrize("stop", [False, True])
    def test_an_exception_inside_propagates_and_leaves_no_hook(self, hook, net, x, stop):
        for open_trace in (
            lambda: hook.Trace(net, "a", stop=stop),
            lambda: hook.TraceDict(net, ["a", "b"], stop=stop),
        ):
            with pytest.raises(ZeroDivisionError), open_trace():
                _ = 1 / 0
            assert hook_count(net) == 0

    def test_an_exception_of_an_edit_propagates_and_leaves_no_hook(self, hook, net, x):
        with (
            pytest.raises(ZeroDivisionError),
            hook.Trace(net, "a", edit_output=lambda output: 1 / 0),
        ):
            net(x)
        assert hook_count(net) == 0

    def test_traces_nest_and_the_inner_one_sees_the_outer_one_s_edit(self, hook, net, x):
        with hook.Trace(net, "a", edit_output=lambda output: output + 1) as outer:
            with hook.Trace(net, "a", edit_output=lambda output: 2 * output) as inner:
                net(x)
            assert hook_count(net) == 1
            net(2 * x)
        assert torch.equal(inner.output, 2 * (net.a(x) + 1))
        assert torch.equal(outer.output, net.a(2 * x) + 1)
        assert hook_count(net) == 0

    def test_an_outer_stop_passes_through_an_inner_trace(self, hook, net, x):
        with hook.Trace(net, "b", stop=True) as outer:
            with hook.Trace(net, "a") as inner:
                net(x)
            pytest.fail("the outer trace should have stopped the forward")
        assert torch.equal(outer.output, net.b(inner.output))
        assert hook_count(net) == 0

    def test_a_path_that_does_not_exist_is_a_lookup_error(self, hook, net):
        with pytest.raises(LookupError, match="nowhere"):
            hook.Trace(net, "nowhere")
        assert hook_count(net) == 0

    def test_an_edit_that_asks_for_too_much_is_a_type_error(self, hook, net, x):
        with (
            pytest.raises(TypeError),
            hook.Trace(net, "a", edit_output=lambda output, layer, inputs, more: output),
        ):
            net(x)
        assert hook_count(net) == 0

    def test_closing_twice_does_nothing(self, hook, net):
        traces = hook.TraceDict(net, ["a", "b"])
        traces.close()
        traces.close()
        assert hook_count(net) == 0

    def test_a_closed_trace_sees_nothing_more(self, hook, net, x):
        with hook.Trace(net, "a") as trace:
            net(x)
        net(2 * x)
        assert torch.equal(trace.output, net.a(x))


def test_the_public_names_are_upstream_s_where_it_is_installed():
    if "baukit" in IMPLEMENTATIONS:
        assert (tracing.Trace, tracing.TraceDict) != (OwnTrace, OwnTraceDict)
    else:
        assert (tracing.Trace, tracing.TraceDict) == (OwnTrace, OwnTraceDict)


def test_a_bad_path_in_a_dict_leaves_no_hook_and_names_the_nearest(net):
    with pytest.raises(LookupError) as error:
        OwnTraceDict(net, ["a", "inner.e", "b"])
    assert error.value.args == (
        "no module 'inner.e' in Sequential; the nearest are inner.d, inner",
    )
    assert hook_count(net) == 0


def test_a_bad_option_in_a_dict_leaves_no_hook(net):
    with pytest.raises(TypeError, match=r"got also d$"):
        OwnTraceDict(net, ["a", "b"], edit_output={"b": lambda a, b, c, d: a})
    assert hook_count(net) == 0


@pytest.mark.parametrize("layer", ["b", None])
def test_a_stop_that_never_comes_is_a_clear_error(net, x, layer):
    module = net if layer else net.b
    with (
        pytest.raises(RuntimeError, match=f"^stop=True, but {layer or 'the module'} never ran"),
        OwnTrace(module, layer, stop=True),
    ):
        net.a(x)
    with (
        pytest.raises(RuntimeError, match=r"^stop=True, but b never ran"),
        OwnTraceDict(net, ["a", "b"], stop=True),
    ):
        net.a(x)
    assert hook_count(net) == 0


def test_an_empty_dict_with_stop_stops_nothing(net, x):
    with OwnTraceDict(net, [], stop=True) as traces:
        output = net(x)
    assert not traces
    assert torch.equal(output, net(x))


def test_an_optional_argument_of_another_name_keeps_its_default(net, x):
    with OwnTrace(net, "a", edit_output=lambda output, factor=3: factor * output) as trace:
        net(x)
    assert torch.equal(trace.output, 3 * net.a(x))


@pytest.mark.parametrize(
    "edit",
    [
        torch.relu,
        nn.functional.relu,
        lambda *given: torch.relu(given[0]) if given[1] == "a" and len(given) == 3 else None,
        lambda **given: torch.relu(given["output"]) if given["layer"] == "a" else None,
        lambda output, **rest: torch.relu(output) if set(rest) == {"layer", "inputs"} else None,
        lambda value, /, layer: torch.relu(value) if layer == "a" else None,
        lambda value, factor=1, *rest: torch.relu(factor * value) if rest[0] == "a" else None,
    ],
)
def test_an_edit_may_be_any_callable(net, x, edit):
    with OwnTrace(net, "a", edit_output=edit) as trace:
        net(x)
    assert torch.equal(trace.output, torch.relu(net.a(x)))


def test_an_edit_that_returns_nothing_keeps_the_output(net, x):
    with OwnTrace(net, "a", edit_output=lambda output: None) as trace:
        assert torch.equal(net(x), net.eval()(x))
    assert torch.equal(trace.output, net.a(x))


def test_an_edit_that_asks_for_too_much_is_refused_before_anything_runs(net):
    with pytest.raises(TypeError) as error:
        OwnTrace(net, "a", edit_output=lambda output, layer, inputs, more: output)
    assert error.value.args == ("edit_output may take output, layer, inputs, got also more",)
    assert hook_count(net) == 0


def test_a_clone_gets_its_gradient_too(net, x):
    with OwnTrace(net, "a", clone=True, retain_grad=True) as trace:
        net(x).sum().backward()
    assert trace.output.grad.abs().sum() > 0


def test_what_is_no_tensor_cannot_be_copied_except_none(net):
    class Gives(nn.Module):
        def forward(self, x, extra):
            return x, extra

    gives = Gives()
    with OwnTrace(gives, clone=True) as trace:
        gives(torch.ones(1), None)
    assert trace.output == (torch.ones(1), None)
    with (
        pytest.raises(TypeError, match="expected tensors, or dicts, lists or tuples"),
        OwnTrace(gives, clone=True),
    ):
        gives(torch.ones(1), "text")


def test_hooks_of_every_kind_are_counted(net):
    assert hook_count(net) == 0
    handles = [
        net.a.register_forward_hook(lambda *_: None),
        net.b.register_forward_pre_hook(lambda *_: None),
        net.inner.d.register_full_backward_hook(lambda *_: None),
        net.c.register_full_backward_pre_hook(lambda *_: None),
    ]
    assert hook_count(net) == 4
    for handle in handles:
        handle.remove()
    assert hook_count(net) == 0


def test_a_path_far_from_any_shows_the_first_there_are(net):
    with pytest.raises(LookupError, match=r"the nearest are a, b, c$"):
        get_module(net, "transformer.h.0")
