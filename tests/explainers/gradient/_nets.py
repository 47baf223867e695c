"""Networks that captum's hooks on modules see fully, and the same functions written so that they do not."""

import torch
from torch import nn
from torch.nn import functional as F


class Apart(nn.Module):
    """Return the same values as another tensor: captum loses one of two rules whose modules share a tensor."""

    def forward(self, x):
        return x + 0


class Modules(nn.Module):
    """Every operation is a module that is used once, nothing works in place, pooling windows do not overlap."""

    def __init__(self, side=8, classes=3, act=nn.ReLU):
        super().__init__()
        self.conv1, self.bn, self.act1, self.pool = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            act(),
            nn.MaxPool2d(2),
        )
        self.conv2, self.act2, self.fc1 = nn.Conv2d(4, 5, 3, padding=1), act(), nn.Linear(5 * (side // 2) ** 2, 6)
        self.act3, self.fc2 = act(), nn.Linear(6, classes)
        nn.init.uniform_(self.bn.running_mean, -0.2, 0.2)
        nn.init.uniform_(self.bn.running_var, 0.2, 0.6)
        nn.init.uniform_(self.bn.bias, -0.3, 0.3)
        self.eval()

    def forward(self, x):
        x = self.act1(self.bn(self.pool(self.conv1(x))))
        return self.fc2(self.act3(self.fc1(self.act2(self.conv2(x)).flatten(1))))


class Functions(Modules):
    """The same by functions, in place, by methods."""

    def forward(self, x):
        x = F.relu(self.bn(F.max_pool2d(self.conv1(x), 2)), inplace=True)
        y = self.conv2(x)
        y.relu_()
        return self.fc2(torch.relu(self.fc1(y.flatten(1))))


class Reused(Modules):
    """The same with one module for every ReLU, in place."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.relu(self.bn(self.pool(self.conv1(x))))
        y = self.conv2(x)
        self.relu(y)  # the result is dropped: it is y that changed
        return self.fc2(self.relu(self.fc1(y.flatten(1))))


class Residual(nn.Module):
    """A residual sum, in place, a pooling with overlapping windows, and concatenation."""

    def __init__(self, act=nn.ReLU):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.act, self.pool, self.fc = act(), nn.MaxPool2d(3, 2, 1), nn.Linear(8, 3)
        self.eval()

    def forward(self, x):
        x = self.pool(self.act(self.conv1(x)))
        y = self.conv2(x)
        y += x
        return self.fc(torch.cat([self.act(y), x], 1).mean((2, 3)))


def same(kind, source):
    """Return a network of another kind with the weights of ``source``."""
    net = kind()
    net.load_state_dict(source.state_dict(), strict=False)
    return net.to(next(source.parameters()).dtype)
