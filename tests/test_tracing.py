"""One contract for Trace, TraceDict and their helpers, whoever wrote them, and what ours do better.

EMOLIB_UPSTREAM_NETHOOK names a file (baukit's nethook.py) to run the contract against too.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections import OrderedDict
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import nn

from emolib import tracing
from emolib.tracing import (
    OwnTrace,
    OwnTraceDict,
    StopForward,
    get_module,
    hook_count,
    own_get_parameter,
    own_recursive_copy,
    own_replace_module,
    own_set_requires_grad,
    own_subsequence,
)

HELPERS = (
    "subsequence",
    "get_parameter",
    "replace_module",
    "set_requires_grad",
    "recursive_copy",
)


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


OWN = SimpleNamespace(
    Trace=OwnTrace,
    TraceDict=OwnTraceDict,
    StopForward=StopForward,
    **{name: getattr(tracing, f"own_{name}") for name in HELPERS},
)
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


@pytest.fixture
def stack():
    """Give a stack of a, b, inner (of c and of deep, of d and e) and f."""
    deep = nn.Sequential(OrderedDict(d=nn.Tanh(), e=nn.Linear(4, 4)))
    inner = nn.Sequential(OrderedDict(c=nn.Linear(4, 4), deep=deep))
    return nn.Sequential(
        OrderedDict(a=nn.Linear(3, 4), b=nn.ReLU(), inner=inner, f=nn.Linear(4, 2))
    )


def leaves(module):
    return [name for name, part in module.named_modules() if not list(part.children())]


class TestContractOfSubsequence:
    @pytest.mark.parametrize(
        ("bounds", "expected"),
        [
            ({"first_layer": "b"}, "b inner.c inner.deep.d inner.deep.e f"),
            ({"last_layer": "b"}, "a b"),
            ({"first_layer": "b", "last_layer": "b"}, "b"),
            ({"single_layer": "b"}, "b"),
            ({"after_layer": "b"}, "inner.c inner.deep.d inner.deep.e f"),
            ({"upto_layer": "b"}, "a"),
            ({"after_layer": "a", "upto_layer": "f"}, "b inner.c inner.deep.d inner.deep.e"),
            ({"first_layer": "b", "upto_layer": "f"}, "b inner.c inner.deep.d inner.deep.e"),
            ({"after_layer": "a", "last_layer": "inner.c"}, "b inner.c"),
            ({"first_layer": "inner.deep.e"}, "inner.deep.e f"),
            ({"after_layer": "inner.deep.e"}, "f"),
            ({"after_layer": "inner.c"}, "inner.deep.d inner.deep.e f"),
            ({"upto_layer": "inner.c"}, "a b"),
            ({"upto_layer": "inner.deep.e"}, "a b inner.c inner.deep.d"),
            ({"last_layer": "inner"}, "a b inner.c inner.deep.d inner.deep.e"),
            ({"single_layer": "inner.deep.e"}, "inner.deep.e"),
            ({"after_layer": "inner.c", "upto_layer": "inner.deep.e"}, "inner.deep.d"),
        ],
    )
    def test_bounds_say_which_layers_are_in(self, hook, stack, bounds, expected):
        assert leaves(hook.subsequence(stack, **bounds)) == expected.split()

    def test_the_parts_of_a_stack_compute_what_it_computes(self, hook, stack, x):
        begin = hook.subsequence(stack, last_layer="inner.c")
        end = hook.subsequence(stack, after_layer="inner.c")
        assert torch.equal(end(begin(x)), stack(x))

    @pytest.mark.parametrize("bounds", [{}, {"last_layer": "b"}])
    def test_weights_are_copied_or_shared_on_request(self, hook, stack, bounds):
        copied = hook.subsequence(stack, **bounds)
        shared = hook.subsequence(stack, **bounds, share_weights=True)
        assert copied.a is not stack.a and torch.equal(copied.a.weight, stack.a.weight)
        assert copied.a.weight.data_ptr() != stack.a.weight.data_ptr()
        assert shared.a is stack.a

    def test_the_mode_of_training_is_kept(self, hook, stack):
        stack.inner.eval()
        part = hook.subsequence(stack, upto_layer="inner.deep.e")
        assert part.training and not part.inner.training and not part.inner.deep.training

    def test_nothing_between_two_bounds_is_an_empty_stack(self, hook, stack):
        assert len(hook.subsequence(stack, after_layer="a", upto_layer="b")) == 0

    def test_the_stack_stays_as_it_was(self, hook, stack):
        hook.subsequence(stack, single_layer="inner.c", share_weights=True)
        assert leaves(stack) == ["a", "b", "inner.c", "inner.deep.d", "inner.deep.e", "f"]

    @pytest.mark.parametrize("layer", ["nowhere", "inner.nowhere"])
    def test_a_layer_that_is_not_there_is_a_value_error(self, hook, stack, layer):
        with pytest.raises(ValueError, match=f"{layer} not found"):
            hook.subsequence(stack, first_layer=layer)

    @pytest.mark.parametrize(
        "bounds",
        [
            {"single_layer": "a", "first_layer": "a"},
            {"first_layer": "a", "after_layer": "a"},
            {"last_layer": "b", "upto_layer": "b"},
            {"first_layer": "a.weight"},
        ],
    )
    def test_what_excludes_each_other_or_is_no_sequential_is_refused(self, hook, stack, bounds):
        with pytest.raises((AssertionError, ValueError, TypeError)):
            hook.subsequence(stack, **bounds)


class TestContractOfHelpers:
    def test_a_parameter_is_found_by_its_path(self, hook, net):
        assert hook.get_parameter(net, "a.weight") is net.a.weight

    @pytest.mark.parametrize("path", ["a.nowhere", "nowhere.weight", "a"])
    def test_a_parameter_that_is_not_there_is_a_lookup_error(self, hook, net, path):
        with pytest.raises(LookupError, match=path):
            hook.get_parameter(net, path)

    def test_a_module_is_replaced_where_it_stands(self, hook, net, x):
        before = net.c(net.b(net.a(x)))
        hook.replace_module(net, "inner.d", nn.Sigmoid())
        assert leaves(net) == ["a", "b", "c", "inner.d"]
        assert torch.equal(net(x), torch.sigmoid(before))

    def test_where_nothing_leads_to_no_module_is_replaced(self, hook, net):
        with pytest.raises(LookupError, match="nowhere"):
            hook.replace_module(net, "nowhere.d", nn.Sigmoid())

    def test_gradients_are_switched_for_modules_and_tensors(self, hook, net):
        tensor = torch.zeros(2)
        hook.set_requires_grad(False, net.a, net.c.bias)
        hook.set_requires_grad(True, tensor)
        on = {name for name, weight in net.named_parameters() if weight.requires_grad}
        assert on == {"c.weight"} and tensor.requires_grad

    def test_gradients_of_something_else_are_refused(self, hook):
        with pytest.raises((AssertionError, TypeError)):
            hook.set_requires_grad(False, "a")

    def test_without_options_a_value_is_itself(self, hook):
        value = {"a": [torch.zeros(2)], "b": "text"}
        assert hook.recursive_copy(value) is value

    def test_copies_go_inside_and_keep_the_containers(self, hook):
        x = torch.ones(2, requires_grad=True)
        value = OrderedDict(a=[x * 2, (x,)], b={"c": x})
        copied = hook.recursive_copy(value, clone=True, detach=True)
        assert type(copied) is OrderedDict and type(copied["a"][1]) is tuple
        assert torch.equal(copied["a"][0], x * 2) and torch.equal(copied["b"]["c"], x)
        assert not copied["a"][0].requires_grad and copied["b"]["c"] is not x

    def test_a_detached_tensor_shares_its_values_and_a_clone_does_not(self, hook):
        x = torch.ones(2, requires_grad=True)
        assert hook.recursive_copy(x, detach=True).data_ptr() == x.data_ptr()
        assert hook.recursive_copy(x, clone=True).data_ptr() != x.data_ptr()
        assert hook.recursive_copy(x, clone=True).requires_grad

    @pytest.mark.parametrize("clone", [False, True])
    def test_tensors_are_marked_to_keep_their_gradients(self, hook, clone):
        x = torch.ones(2)
        y = 3 * x.requires_grad_()
        copied = hook.recursive_copy([y], clone=clone, detach=True, retain_grad=True)
        (2 * copied[0]).sum().backward()
        assert torch.equal(y.grad, torch.full((2,), 2.0))

    def test_what_holds_no_tensors_cannot_be_copied(self, hook):
        with pytest.raises((AssertionError, TypeError)):
            hook.recursive_copy({"a": "text"}, clone=True)


def test_the_public_names_are_upstream_s_where_it_is_installed():
    names = ("Trace", "TraceDict", *HELPERS)
    own = [getattr(OWN, name) for name in names]
    assert ([getattr(tracing, name) for name in names] == own) == ("baukit" not in IMPLEMENTATIONS)


def test_bounds_in_the_wrong_order_are_refused(stack):
    with pytest.raises(ValueError, match=r"^layer inner\.deep comes after inner\.c; name them"):
        own_subsequence(stack, first_layer="inner.deep.d", last_layer="inner.c")
    with pytest.raises(ValueError, match=r"^layer f comes after b"):
        own_subsequence(stack, after_layer="f", upto_layer="b")


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"single_layer": "a", "last_layer": "a"}, "single_layer goes alone"),
        ({"first_layer": "a", "after_layer": "a"}, "got both; drop one"),
        ({"first_layer": "inner.g"}, r"layer inner\.g not found; there are c, deep"),
    ],
)
def test_wrong_bounds_are_told(stack, bounds, message):
    with pytest.raises(ValueError, match=message):
        own_subsequence(stack, **bounds)


def test_a_bound_in_what_is_no_sequential_is_told(stack):
    with pytest.raises(TypeError, match=r"^expected a Sequential at a, .* got Linear"):
        own_subsequence(stack, last_layer="a.weight")


def test_weights_that_layers_share_stay_shared_in_a_copy(stack):
    stack.inner.deep.e.weight = stack.inner.c.weight
    part = own_subsequence(stack, first_layer="inner")
    assert part.inner.deep.e.weight is part.inner.c.weight is not stack.inner.c.weight


def test_a_shared_parameter_has_every_path_that_leads_to_it(stack):
    stack.inner.deep.e.weight = stack.inner.c.weight
    assert own_get_parameter(stack, "inner.deep.e.weight") is stack.inner.c.weight


def test_a_parameter_that_is_not_there_is_told_with_the_nearest(net):
    with pytest.raises(LookupError) as error:
        own_get_parameter(net, "c.wieght")
    assert error.value.args[0].startswith(
        "no parameter 'c.wieght' in Sequential; the nearest are c.weight"
    )


@pytest.mark.parametrize("path", ["nowhere", "inner.nowhere", ""])
def test_a_module_that_was_not_there_is_not_replaced(net, path):
    with pytest.raises(LookupError):
        own_replace_module(net, path, nn.Sigmoid())
    assert leaves(net) == ["a", "b", "c", "inner.d"]


def test_a_module_at_the_top_is_replaced(net):
    own_replace_module(net, "b", nn.Sigmoid())
    assert isinstance(net.b, nn.Sigmoid) and leaves(net) == ["a", "b", "c", "inner.d"]


def test_nothing_is_switched_where_one_is_no_module(net):
    with pytest.raises(TypeError, match=r"^expected modules or tensors, got <class 'str'>"):
        own_set_requires_grad(False, net, "a")
    assert all(weight.requires_grad for weight in net.parameters())


def test_a_named_tuple_is_copied_as_one():
    class Both(NamedTuple):
        left: torch.Tensor
        right: None

    copied = own_recursive_copy(Both(torch.ones(1), None), clone=True)
    assert isinstance(copied, Both) and torch.equal(copied.left, torch.ones(1))


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
