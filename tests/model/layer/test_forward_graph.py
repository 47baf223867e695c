import torch
from torch import nn

from lightning_xai.model.layer.forward_graph import ForwardGraph
from lightning_xai.model.readout import named_layers

IMAGES = torch.randn(2, 3, 4, 4)


def graph_of(net, images=IMAGES):
    """Return the graph of a forward pass and the index of what it returned."""
    graph = ForwardGraph(images)
    with torch.no_grad(), graph.watching(named_layers(net)), graph:
        output = net(images)
    return graph, graph.index_of(output)


class Function(nn.Module):
    def __init__(self, forward, **layers):
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.function(self, x)


def paths(graph, last):
    """Return all paths from the images to ``last``, each a set of indices, written out."""
    if last == 0:
        return [{0}]
    return [path | {last} for source in graph.tensors[last].sources for path in paths(graph, source)]


def residual(_, x):
    y = x.exp()
    return y + (y.sin() * y).mean((2, 3), keepdim=True) + y.cos()


def two_branches(_, x):
    return torch.cat([x.sin().exp(), x[:, :1].cos()], 1).sum((2, 3)) + x.mean()


def written_into(_, x):
    y = x.sin()
    y[:, 0] = x[:, 1].cos()
    y.view(-1).add_(1)
    part = y[:, :2]
    part.mul_(x[:, :2])
    return y.exp()


def test_what_every_path_comes_past_is_in_all_of_them():
    for function in (residual, two_branches, written_into):
        graph, last = graph_of(Function(function))
        expected = set.intersection(*paths(graph, last))
        assert set(graph.on_every_path(last)) == expected


def test_what_is_written_in_place_changes_all_that_share_its_memory():
    def forward(_, x):
        base = x * 2.0
        view = base[:, :1]
        view.mul_(x[:, :1].exp())
        return base.sum()

    graph, last = graph_of(Function(forward))
    through = [graph.tensors[i].operation for path in paths(graph, last) for i in path]
    assert "exp" in through
    assert "mul_" in through


def test_an_operation_that_returns_what_it_got_computed_nothing():
    net = nn.Sequential(nn.ReLU(), nn.Dropout(0.5), nn.Identity(), nn.Sequential(nn.Identity())).eval()
    graph, last = graph_of(net)
    assert [tensor.operation for tensor in graph.tensors] == ["", "relu"]
    assert (graph.returned_by, graph.passed_by) == ({last: "0"}, {last: "1"})


def test_the_outermost_module_that_returned_it_and_of_several_calls_the_last():
    net = nn.Sequential(nn.Sequential(nn.Sequential(nn.ReLU())), nn.Tanh())
    assert graph_of(net)[0].returned_by == {1: "0", 2: "1"}
    twice = Function(lambda self, x: self.layer(self.layer(x).cos()), layer=nn.Tanh())
    assert graph_of(twice)[0].returned_by == {3: "layer"}


def test_what_does_not_depend_on_the_images_is_no_part_of_it():
    def forward(self, x):
        text = torch.softmax(self.text.weight @ self.text.weight.T, -1)[None, None]
        return x.flatten(1) @ x.new_ones(48, 2) + text.mean()

    graph, _ = graph_of(Function(forward, text=nn.Linear(5, 7)))
    assert [tensor.operation for tensor in graph.tensors[1:]] == ["flatten", "matmul", "add"]
    assert graph.attentions == []


def test_a_scripted_module_is_one_step_with_weights():
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()))
    graph, last = graph_of(Function(lambda self, x: self.layer(x).sum((2, 3)) + self.bias(x.new_ones(1, 1)),
                                    layer=scripted, bias=nn.Linear(1, 1)))  # fmt: skip
    assert [(tensor.operation, tensor.weighed) for tensor in graph.tensors[1:3]] == [("", True), ("sum", False)]
    assert graph.on_every_path(last) == [0, 1, 2, last]
