"""CTR-GCN and ST-GCN++ layer by layer as their papers draw them: plain twins, with the published names."""

import torch
from torch import nn
from torch.nn import functional as F

SHAPES = [(1, 1), (1, 1), (1, 1), (1, 1), (2, 2), (2, 1), (2, 1), (4, 2), (4, 1), (4, 1)]  # widening, stride


def pointwise(channels, width, stride=1):
    return nn.Conv2d(channels, width, 1, stride=(stride, 1))


def temporal(width, kernel, dilation, stride):
    padding = (kernel - 1) * dilation // 2
    return nn.Conv2d(width, width, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))


class Named(nn.Module):
    """Layers by name, in the order in which they are called."""

    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        for layer in self.children():
            x = layer(x)
        return x


def shortcut(channels, width, stride):
    if (channels, stride) == (width, 1):
        return nn.Identity()
    return Named(conv=pointwise(channels, width, stride), bn=nn.BatchNorm2d(width))


class PlainUnit(nn.Module):
    def __init__(self, graph, over_time, residual):
        super().__init__()
        self.graph_layer, self.temporal_layer = (name for name, _ in (graph, over_time))
        for name, layer in (graph, over_time):
            self.add_module(name, layer)
        if residual is not None:
            self.residual = residual

    def forward(self, x):
        y = getattr(self, self.temporal_layer)(getattr(self, self.graph_layer)(x))
        return F.relu(y + self.residual(x) if hasattr(self, "residual") else y)


class PlainSubset(nn.Module):
    """The channel-wise graph of one subset of CTR-GCN (its equations 5 to 8)."""

    def __init__(self, channels, width):
        super().__init__()
        features = 8 if channels <= 16 else channels // 8
        self.conv1, self.conv2 = pointwise(channels, features), pointwise(channels, features)
        self.conv3, self.conv4 = pointwise(channels, width), pointwise(features, width)

    def forward(self, x, adjacency, alpha):
        one, other = self.conv1(x).mean(2), self.conv2(x).mean(2)
        correlation = torch.tanh(one[:, :, :, None] - other[:, :, None, :])
        topology = adjacency + alpha * self.conv4(correlation)
        return torch.einsum("ncuv,nctv->nctu", topology, self.conv3(x))


class PlainRefined(nn.Module):
    def __init__(self, channels, width, adjacency):
        super().__init__()
        self.PA, self.alpha = nn.Parameter(adjacency.clone()), nn.Parameter(torch.zeros(1))
        self.convs = nn.ModuleList(PlainSubset(channels, width) for _ in range(3))
        self.bn = nn.BatchNorm2d(width)
        if channels != width:
            self.down = nn.Sequential(pointwise(channels, width), nn.BatchNorm2d(width))

    def forward(self, x):
        y = sum(subset(x, self.PA[number], self.alpha) for number, subset in enumerate(self.convs))
        return F.relu(self.bn(y) + (self.down(x) if hasattr(self, "down") else x))


class PlainBranches(nn.Module):
    """CTR-GCN's temporal layer."""

    def __init__(self, width, stride):
        super().__init__()
        part = width // 4

        def begin():
            return [pointwise(width, part), nn.BatchNorm2d(part), nn.ReLU()]

        self.branches = nn.ModuleList(
            nn.Sequential(*begin(), Named(conv=temporal(part, 5, dilation, stride), bn=nn.BatchNorm2d(part)))
            for dilation in (1, 2)
        )
        pool = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches.append(nn.Sequential(*begin(), pool, nn.BatchNorm2d(part)))
        self.branches.append(nn.Sequential(pointwise(width, part, stride), nn.BatchNorm2d(part)))

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class PlainCTRGCN(nn.Module):
    def __init__(self, adjacency, num_classes, bodies, channels=3, width=64):
        super().__init__()
        joints = adjacency.shape[-1]
        self.data_bn = nn.BatchNorm1d(bodies * joints * channels)
        for number, (widening, stride) in enumerate(SHAPES):
            wide = widening * width
            unit = PlainUnit(
                ("gcn1", PlainRefined(channels, wide, adjacency)),
                ("tcn1", PlainBranches(wide, stride)),
                shortcut(channels, wide, stride) if number else None,
            )
            self.add_module(f"l{number + 1}", unit)
            channels = wide
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        N, C, T, V, M = x.shape
        x = self.data_bn(x.permute(0, 4, 3, 1, 2).reshape(N, M * V * C, T))
        x = x.view(N, M, V, C, T).permute(0, 1, 3, 4, 2).reshape(N * M, C, T, V)
        for number in range(10):
            x = getattr(self, f"l{number + 1}")(x)
        return self.fc(x.view(N, M, x.shape[1], -1).mean(3).mean(1))


class PlainSpatial(nn.Module):
    """ST-GCN++'s graph layer: 1x1 convolution, then each subset's learned adjacency, residual inside."""

    def __init__(self, channels, width, adjacency):
        super().__init__()
        self.A = nn.Parameter(adjacency.clone())
        self.conv, self.bn = pointwise(channels, 3 * width), nn.BatchNorm2d(width)
        if channels != width:
            self.down = nn.Sequential(pointwise(channels, width), nn.BatchNorm2d(width))

    def forward(self, x):
        parts = self.conv(x).chunk(3, dim=1)
        y = sum(torch.einsum("nctv,vw->nctw", part, self.A[k]) for k, part in enumerate(parts))
        return F.relu(self.bn(y) + (self.down(x) if hasattr(self, "down") else x))


class PlainMultiScale(nn.Module):
    """ST-GCN++'s temporal layer of six branches."""

    def __init__(self, width, stride):
        super().__init__()
        part = width // 6
        first = width - 5 * part

        def begin(size):
            return [pointwise(width, size), nn.BatchNorm2d(size), nn.ReLU()]

        self.branches = nn.ModuleList(
            nn.Sequential(*begin(size), Named(conv=temporal(size, 3, dilation, stride)))
            for size, dilation in ((first, 1), (part, 2), (part, 3), (part, 4))
        )
        self.branches.append(nn.Sequential(*begin(part), nn.MaxPool2d((3, 1), (stride, 1), (1, 0))))
        self.branches.append(pointwise(width, part, stride))
        self.transform = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), pointwise(width, width))
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x):
        return self.bn(self.transform(torch.cat([branch(x) for branch in self.branches], 1)))


class PlainSTGCNPP(nn.Module):
    def __init__(self, adjacency, num_classes, bodies, channels=3, width=64):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.data_bn = nn.BatchNorm1d(adjacency.shape[-1] * channels)
        self.backbone.gcn = nn.ModuleList()
        for number, (widening, stride) in enumerate(SHAPES):
            wide = widening * width
            unit = PlainUnit(
                ("gcn", PlainSpatial(channels, wide, adjacency)),
                ("tcn", PlainMultiScale(wide, stride)),
                shortcut(channels, wide, stride) if number else None,
            )
            self.backbone.gcn.append(unit)
            channels = wide
        self.cls_head = Named(fc_cls=nn.Linear(channels, num_classes))

    def forward(self, x):
        N, C, T, V, M = x.shape
        x = self.backbone.data_bn(x.permute(0, 4, 3, 1, 2).reshape(N * M, V * C, T))
        x = x.view(N * M, V, C, T).permute(0, 2, 3, 1)
        for unit in self.backbone.gcn:
            x = unit(x)
        return self.cls_head(x.mean((2, 3)).view(N, M, -1).mean(1))
