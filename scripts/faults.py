"""One-line faults in src/ that some test must notice: python engine/scripts/plant_faults.py plants them too.

Each is a file, a text that stands in it once, and what takes its place.
"""

FAULTS = [
    ("scripts/additions/trimming.py", "            kept = without_introduction(kept)", "            pass"),
    ("scripts/additions/trimming.py", "if sections.search(block) else 0", "if gone.search(block) else 0"),
    ("scripts/additions/parts.py", "if set(parts) & set(needed(node))", "if set(needed(node))"),
    ("src/my_project/data/mnist_5k.py", "fraction=0.125", "fraction=0.12"),
    ("src/my_project/data/torchvision_sets.py", "test=_tensors(test_set)", "test=_tensors(train_set)"),
    ("src/my_project/models/cnn.py", 'nonlinearity="relu"', 'nonlinearity="linear"'),
    ("src/my_project/models/norms.py", "channels // 2", "channels"),
    ("src/my_project/models/norms.py", 'kind == "layer" else', 'kind == "group" else'),
    (
        "src/my_project/models/stochastic_depth.py",
        "last * number / num_blocks",
        "last * (number - 1) / num_blocks",
    ),
    ("src/my_project/models/stochastic_depth.py", '"row")', '"batch")'),
    ("src/my_project/models/vit.py", "layer.dropout2 = nn.Sequential(nn.Dropout(dropout), drop)", "pass"),
    (
        "src/my_project/models/resnet.py",
        "self.drop(self.norm2(self.conv2(residual)))",
        "self.norm2(self.conv2(residual))",
    ),
    (
        "src/my_project/models/vit.py",
        "self.encoder.norm(recomputed(self.encoder.layers, tokens))",
        "self.encoder(tokens)",
    ),
    (
        "src/my_project/models/resnet.py",
        "self.checkpoint_activations and self.training",
        "self.checkpoint_activations",
    ),
    ("src/my_project/models/resnet.py", "residual + self.shortcut(x)", "residual + x.mean()"),
    ("src/my_project/models/airbench.py", "conv.weight[: conv.in_channels]", "conv.weight[:1]"),
    ("src/my_project/models/whitening.py", "(variances + EPS).sqrt()).T", "(variances + EPS).sqrt())"),
    ("src/my_project/models/whitening.py", "- mean.outer(mean)", ""),
    ("src/my_project/callbacks/whitening.py", " and not each.is_fitted", ""),
    ("src/my_project/models/vit.py", "dim=1) + self.positions", "dim=1)"),
    ("src/my_project/models/gpt.py", "is_causal=True", "is_causal=False"),
    ("src/my_project/models/tabular.py", "(features - self.mean) / self.std", "features - self.mean"),
    ("src/my_project/tasks/regression.py", "errors.abs().sum()", "errors.abs().mean()"),
    ("src/my_project/tasks/language.py", "(following != NOT_COUNTED).sum()", "following.numel()"),
    ("src/my_project/data/text.py", "<= places[:-1, -1:]", "< places[:-1, -1:]"),
    ("src/my_project/data/diabetes.py", "targets = self.splits.train", "targets = self.splits.val"),
]

# Classical bugs, of which the contracts of models, data and tasks must notice each.
CONTRACT_FAULTS = [
    (
        "src/my_project/data/mnist_5k.py",
        "test=everything.take(test)",
        # The training images are among the test's.
        "test=everything.take(rest)",
    ),
    ("src/my_project/data/mnist_5k.py", "val=everything.take(rest[val])", "val=everything.take(val)"),
    ("src/my_project/data/torchvision_sets.py", "test=_tensors(test_set)", "test=_tensors(train_set)"),
    ("src/my_project/models/cnn.py", "features = self.stages(images)", "features = self.stages(images).detach()"),
    (
        "src/my_project/models/cnn.py",
        "self.head(features.flatten(2).max(2).values)",
        # Dropout in evaluation too.
        "self.head(nn.functional.dropout(features.flatten(2).max(2).values, 0.2))",
    ),
    (
        "src/my_project/models/cnn.py",
        "features.flatten(2).max(2).values",
        "features.flatten(2).max(2).values + features.mean((0, 2, 3))",
    ),
    (
        "src/my_project/models/cnn.py",
        "self.head(features.flatten(2).max(2).values)",
        "self.head(features.flatten(2).max(2).values).softmax(1)",
    ),
    (
        "src/my_project/models/cnn.py",
        "self.head(features.flatten(2).max(2).values)",
        "self.head(features.flatten(2).max(2).values).double()",
    ),
    (
        "src/my_project/models/cnn.py",
        "nn.MaxPool2d(2),\n        norm_of(norm, out_channels)",
        "nn.MaxPool2d(2),\n        nn.BatchNorm2d(out_channels, track_running_stats=False)",
    ),
    (
        "src/my_project/models/cnn.py",
        "nn.MaxPool2d(2),\n        norm_of(norm, out_channels)",
        "nn.MaxPool2d(2),\n        nn.BatchNorm2d(out_channels, momentum=0.0)",
    ),
    ("src/my_project/models/resnet.py", "residual + self.shortcut(x)", "residual + self.shortcut(x).detach()"),
    ("src/my_project/models/resnet.py", "self.norm1(self.conv1(x))", "self.norm1(self.conv1(x).detach())"),
    # A method is no submodule.
    ("src/my_project/models/resnet.py", "nn.Sequential(*blocks)", "nn.Sequential(*blocks).forward"),
    ("src/my_project/models/mlp.py", "self.hidden(images)", "self.hidden(images - images.mean(0))"),
    ("src/my_project/models/mlp.py", "self.hidden(images)", "self.hidden(images.sub_(0.1))"),
    (
        "src/my_project/models/mlp.py",
        'kaiming_normal_(module.weight, nonlinearity="relu")',
        "normal_(module.weight)",
    ),
    # Images attend to each other.
    ("src/my_project/models/vit.py", "batch_first=True", "batch_first=False"),
    ("src/my_project/models/vit.py", "dim=1) + self.positions", "dim=1) + self.positions.detach()"),
    ("src/my_project/models/vit.py", "self.head.weight, std=0.02", "self.head.weight, std=2.0"),
    (
        "src/my_project/models/vit.py",
        "self.patches(images).flatten(2).transpose(1, 2)",
        "self.patches(images).flatten(2).permute(2, 0, 1).reshape(len(images), -1, self.class_token.shape[2])",
    ),
    ("src/my_project/models/airbench.py", " / self.head.in_features", ""),
    ("src/my_project/models/airbench.py", "NORM_MOMENTUM = 0.4", "NORM_MOMENTUM = 0.0"),
    ("src/my_project/models/torchvision.py", "images.expand(", "images[:, :1].expand("),
    ("src/my_project/models/torchvision.py", "self.net(images", "self.net.train()(images"),
    ("src/my_project/models/gpt.py", "is_causal=True", "is_causal=False"),
    ("src/my_project/models/gpt.py", "x = x + self.attention(x)", "x = x + self.attention(x - x.mean(0))"),
    ("src/my_project/models/gpt.py", "self.head.weight, std=0.02", "self.head.weight, std=0.5"),
    ("src/my_project/models/gpt.py", "rotated(query), rotated(key)", "rotated(query), rotated(key).detach()"),
    (
        "src/my_project/models/tabular.py",
        "self.hidden(standardised)",
        "self.hidden(standardised - standardised.mean(0))",
    ),
    ("src/my_project/models/tabular.py", "(features - self.mean)", "features.sub_(self.mean)"),
    (
        "src/my_project/models/tabular.py",
        "self.hidden(standardised)",
        "self.hidden(nn.functional.dropout(standardised, 0.2))",
    ),
    # Overlapping splits, and statistics of more than training.
    ("src/my_project/data/diabetes.py", '"val": rest[val]', '"val": rest[train[:66]]'),
    (
        "src/my_project/data/diabetes.py",
        "features, targets = self.splits.train",
        "features, targets = self.splits.test",
    ),
    ("src/my_project/data/diabetes.py", "value.tolist() for name", "value.numpy() for name"),
    (
        "src/my_project/data/text.py",
        '"val": blocks(val, self',
        '"val": blocks(train, self',
    ),
    ("src/my_project/tasks/regression.py", "errors.abs().sum()", "errors.abs().mean()"),
    ("src/my_project/tasks/regression.py", "self(features)  # (B,)", "self(features).detach()"),
    ("src/my_project/tasks/regression.py", '"mae": "min", "rmse": "min"', '"mae": "min", "rsme": "min"'),
    ("src/my_project/tasks/regression.py", 'self.config["data"]["num_features"]', 'self.config["data"]["batch_size"]'),
    ("src/my_project/tasks/language.py", "(following != NOT_COUNTED).sum()", "following.numel()"),
    ("src/my_project/tasks/language.py", 'metrics["loss"].exp()', 'metrics["loss"].exp() * sums["num"]'),
    ("src/my_project/tasks/language.py", "dtype=torch.int64", "dtype=torch.int32"),
    (
        "src/my_project/tasks/classification.py",
        "(logits.argmax(1) == labels).sum()",
        "(logits.argmax(1) == labels).float().mean()",
    ),
]
