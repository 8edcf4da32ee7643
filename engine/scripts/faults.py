"""One-line faults that some test must catch; plant_faults.py plants them."""

from typing import NamedTuple


class Fault(NamedTuple):
    """One line of one file, made wrong."""

    # Path below the project's root.
    file: str
    right: str
    wrong: str


FAULTS = [
    Fault(
        "engine/src/kindling/images/loader.py",
        "torch.randperm(self.num_images, generator=generator)",
        "torch.randperm(self.num_images)",
    ),
    Fault("engine/src/kindling/images/loader.py", "mix_seeds(self.seed, self.epoch)", "mix_seeds(self.seed, 0)"),
    Fault(
        "engine/src/kindling/images/loader.py",
        "self.order.first_batch = self.order.first_batch, 0",
        "self.order.first_batch = 0, 0",
    ),
    Fault("engine/src/kindling/images/loader.py", "draws[part]", "draws[: len(images)]"),
    Fault(
        "engine/src/kindling/images/loader.py",
        "part[self.rank :: self.world_size]",
        "part[: len(part) // self.world_size]",
    ),
    Fault("engine/src/kindling/images/loader.py", "torch.tensor([NO_LABEL])", "labels[:1]"),
    Fault(
        "engine/src/kindling/images/loader.py",
        "            generator=torch.Generator(),",
        "            generator=None,",
    ),
    Fault(
        "engine/src/kindling/images/augment.py", "flipped = draws[:, FLIP_DRAW] <", "flipped = draws[:1, FLIP_DRAW] <"
    ),
    Fault(
        "engine/src/kindling/images/augment.py",
        "(draws * (2 * self.crop_padding + 1))",
        "(draws * 2 * self.crop_padding)",
    ),
    Fault("engine/src/kindling/images/augment.py", "len(images) * flipped", "len(images)"),
    Fault("engine/src/kindling/images/augment.py", "images.narrow(dim, 1, padding)", "images.narrow(dim, 0, padding)"),
    Fault("engine/src/kindling/images/loader.py", "(self.epoch % 2)", "(self.epoch % 3)"),
    Fault("engine/src/kindling/images/loader.py", "self._alternating_draws()[indices]", "self._alternating_draws()"),
    Fault("engine/src/kindling/images/augment.py", "(2 * turn - 1) * self.rotation", "turn * self.rotation"),
    Fault("engine/src/kindling/images/augment.py", ".sub_(mean).div_(std)", ".div_(std).sub_(mean)"),
    Fault(
        "engine/src/kindling/data/splits.py",
        "manual_seed(SPLIT_SEED)\n    held",
        "manual_seed(torch.initial_seed())\n    held",
    ),
    Fault("engine/src/kindling/data/splits.py", "found[by_class] =", "found[shuffled] ="),
    Fault("engine/src/kindling/images/datamodule.py", "(~held).nonzero().flatten()", "held.nonzero().flatten()"),
    Fault(
        "engine/src/kindling/images/datamodule.py", "shuffle=True, augment=self.augment", "shuffle=True, augment=None"
    ),
    Fault("engine/src/kindling/images/datamodule.py", "balance=shuffle and self.balanced_sampling", "balance=False"),
    Fault("engine/src/kindling/images/loader.py", "replacement=True, generator=generator", "replacement=True"),
    Fault("engine/src/kindling/images/transform.py", "    seed_all(seed, image.device)", "    _ = seed"),
    Fault(
        "engine/src/kindling/images/criterion.py",
        "len(labels) / (counts.count_nonzero() * counts)",
        "len(labels) / counts",
    ),
    Fault(
        "engine/src/kindling/images/criterion.py", "* self.label_smoothing / self.num_classes", "* self.label_smoothing"
    ),
    Fault("engine/src/kindling/images/criterion.py", "** self.focal_gamma", "** 1"),
    Fault(
        "engine/src/kindling/images/criterion.py",
        "self.num_classes) * has_label, has_label",
        "self.num_classes), has_label",
    ),
    Fault(
        "engine/src/kindling/images/classifier.py", 'self.mix is not None and stage == "train"', "self.mix is not None"
    ),
    Fault("engine/src/kindling/images/classifier.py", "        apply_lr_factors(optimizer)\n", ""),
    Fault("engine/src/kindling/images/classifier.py", "self.criterion.balance(data.splits.train.labels)", "pass"),
    Fault(
        "engine/src/kindling/images/metrics.py",
        "labels.argmax(1) if labels.ndim == 2",
        "labels.argmin(1) if labels.ndim == 2",
    ),
    Fault(
        "engine/src/kindling/training/optimization.py", "layer_lr_decay ** (last - number)", "layer_lr_decay**number"
    ),
    Fault("engine/src/kindling/callbacks/finetuning.py", "return min(2 + (epoch", "return min(1 + (epoch"),
    Fault("engine/src/kindling/callbacks/finetuning.py", 'group["fused"] = False', "pass"),
    Fault(
        "engine/src/kindling/callbacks/finetuning.py",
        "module.train(any(parameter.requires_grad for parameter in parameters))",
        "pass",
    ),
    Fault(
        "engine/src/kindling/callbacks/finetuning.py",
        "self._freeze(net, trainer.current_epoch)",
        "self._freeze(net, 0)",
    ),
    Fault("engine/src/kindling/checkpoints/pretrained.py", "return bool(misfits)", "return False"),
    Fault("engine/src/kindling/data/splits.py", "(~held).nonzero()", "(held >= 0).nonzero()"),
    Fault("engine/src/kindling/images/datamodule.py", 'return self.loader("test")', 'return self.loader("val")'),
    Fault("engine/src/kindling/images/decoding.py", "// 257", "// 256 * 2"),
    Fault("engine/src/kindling/images/decoding.py", "channels_first or not is_last", "channels_first"),
    Fault("engine/src/kindling/images/decoding.py", "if not 0 <= low <= high <= 1:", "if low < 0 or high > 1:"),
    Fault("engine/src/kindling/inference/predictor.py", "channels_first=True", "channels_first=False"),
    Fault("engine/src/kindling/inference/predictor.py", "classifier.net.eval()", "classifier.net.train()"),
    Fault("engine/src/kindling/inference/predictor.py", "return images.ndim > 3", "return True"),
    Fault(
        "engine/src/kindling/inference/exporting/exported_graph.py",
        ".sub(self.mean).div(self.std)",
        ".sub(self.std).div(self.mean)",
    ),
    Fault("engine/src/kindling/inference/exporting/exported_graph.py", "graph.eval()", "graph.train()"),
    Fault(
        "engine/src/kindling/inference/exporting/formats.py",
        "            program(graph, example)\n        except",
        "            pass\n        except",
    ),
    Fault(
        "engine/src/kindling/inference/exporting/formats.py", 'if not each.filename.endswith(".debug_pkl"):', "if True:"
    ),
    Fault("engine/src/kindling/inference/exporting/int8.py", "reduce_range=True", "reduce_range=False"),
    Fault("engine/src/kindling/inference/exporting/int8.py", "list(UNROUNDED)", "[]"),
    Fault("engine/src/kindling/inference/exporting/onnx_graph.py", "< 0).any()", "> 0).all()"),
    Fault("engine/src/kindling/inference/exporting/parity.py", "not self.changed_predictions", "True"),
    Fault(
        "engine/src/kindling/inference/exporting/parity.py",
        "self.right_before - self.right_after",
        "self.right_after - self.right_before",
    ),
    Fault(
        "engine/src/kindling/inference/exporting/parity.py",
        "float(np.maximum(self.max_logit_difference, difference))",
        "float(difference)",
    ),
    Fault(
        "engine/src/kindling/inference/exporting/onnx_graph.py",
        "        del each.metadata_props[:]\n",
        "",
    ),
    Fault("engine/src/kindling/files/whole_folder.py", "found <= set(names)", "True"),
    Fault("engine/src/kindling/files/whole_folder.py", "        aside.rename(target)\n", "        pass\n"),
    Fault("engine/src/kindling/images/image_folder.py", "s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}", "path.name}"),
    Fault(
        "engine/src/kindling/images/image_folder.py",
        'listed["train"] = [listed["train"][i] for i in kept.tolist()]',
        "pass",
    ),
    Fault("engine/src/kindling/training/recomputation.py", "setattr(norm, name, buffer.clone())", "pass"),
    Fault("engine/src/kindling/training/recomputation.py", "setattr(norm, name, buffer)\n", "pass\n"),
    Fault("engine/src/kindling/training/initialisation.py", "and each.weight.requires_grad", ""),
    Fault(
        "engine/src/kindling/training/initialisation.py",
        "(layer.weight for layer in layers), *map(projections, attentions)",
        "(layer.weight for layer in layers)",
    ),
    Fault("engine/src/kindling/training/initialisation.py", "nn.init.normal_(layers[-1].weight, std=HEAD_STD)", "pass"),
    Fault("engine/src/kindling/training/initialisation.py", "            nn.init.zeros_(bias)", "            pass"),
    Fault(
        "engine/src/kindling/training/initialisation.py",
        "nn.init.orthogonal_, gain=RELU_GAIN",
        "nn.init.orthogonal_, gain=1.0",
    ),
    Fault("engine/src/kindling/train.py", "initialise(net, cfg.init)", "pass"),
    Fault("engine/src/kindling/debug/gradient_check.py", "if not is_right]", "if is_right is None]"),
    Fault("engine/src/kindling/debug/gradient_check.py", "add_noise(images)", "images"),
    Fault(
        "engine/src/kindling/debug/gradient_check.py",
        "        torch.default_generator.manual_seed(SEED)\n        given",
        "        given",
    ),
    Fault("engine/src/kindling/debug/gradient_check.py", "{name: value})", "{})"),
    Fault("engine/src/kindling/debug/gradient_check.py", "copy.deepcopy(each).cpu()", "each.cpu()"),
    Fault("engine/src/kindling/config/rules/run_rules.py", "if init and weights:", "if False:"),
    Fault("engine/src/kindling/run_folders/resumption.py", "(*RATES, *FREE)", "RATES"),
    Fault("engine/src/kindling/images/classifier.py", "parameter.grad = None", "pass"),
    Fault(
        "engine/src/kindling/images/classifier.py",
        "self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)",
        "pass",
    ),
    Fault("engine/src/kindling/training/muon.py", "id(matrices[-1])", "id(matrices[0])"),
    Fault("engine/src/kindling/training/muon.py", 'sums, alpha=group["momentum"])', "sums, alpha=1.0)"),
    Fault("engine/src/kindling/training/muon.py", "1 < len(p) < p.numel()", "1 < len(p)"),
    Fault("engine/src/kindling/training/muon.py", "self._kinds, has_head=False", "self._kinds"),
    Fault("engine/src/kindling/training/muon.py", "len(parameter) ** 0.5 / (norm + EPS)", "1 / norm"),
    Fault("engine/src/kindling/training/muon.py", "max(1.0, rows / columns) ** 0.5", "1.0"),
    Fault("engine/src/kindling/checkpoints/pretrained.py", "if surplus or len(heads) > 1", "if surplus"),
    Fault("engine/src/kindling/training/optimization.py", "parameter.ndim <= 1", "parameter.ndim <= 0"),
    Fault("engine/src/kindling/training/optimization.py", "(step + 1) / warmup_steps", "step / warmup_steps"),
    Fault("engine/src/kindling/training/optimization.py", "0.5 * (1 + math.cos(", "(1 + math.cos("),
    Fault(
        "engine/src/kindling/training/optimization.py",
        "lambda progress: 1 - progress",
        "lambda progress: 1 - progress**2",
    ),
    Fault("engine/src/kindling/training/optimization.py", 'group["lr"] / common if common else 1.0', "1.0"),
    Fault("engine/src/kindling/images/views.py", "0.5 * unmoved + 0.25 * moved", "(unmoved + moved) / 3"),
    Fault("engine/src/kindling/images/views.py", "padded[:, :, 2:, 2:]", "padded[:, :, :-2, 2:]"),
    Fault("engine/src/kindling/images/metrics.py", "loss.detach() * num_images", "loss.detach()"),
    Fault("engine/src/kindling/images/metrics.py", "add_(loss.detach(), alpha=num_images)", "add_(loss.detach())"),
    Fault(
        "engine/src/kindling/images/metrics.py",
        "(logits.argmax(1) == labels).sum()",
        "(logits.argmin(1) == labels).sum()",
    ),
    Fault("engine/src/kindling/images/classifier.py", '        self.totals["val"].reset()\n', "        pass\n"),
    Fault(
        "engine/src/kindling/images/classifier.py",
        'self.views.get(stage, "none"))',
        'self.views.get(stage, "none")).softmax(1)',
    ),
    Fault("engine/src/kindling/images/classifier.py", "if clips_mixed else", "if False else"),
    Fault("engine/src/kindling/images/classifier.py", "self.__dict__[name] = value", "pass"),
    Fault("engine/src/kindling/lightning_internals/hooks.py", "callback._every_n_train_steps < 1 and", "True or"),
    Fault("engine/src/kindling/lightning_internals/hooks.py", 'callback.logging_interval == "epoch"', "True"),
    Fault(
        "engine/src/kindling/lightning_internals/hooks.py",
        "type(callback) is ModelCheckpoint",
        "isinstance(callback, ModelCheckpoint)",
    ),
    Fault("engine/src/kindling/lightning_internals/overhead.py", "hooks.skip_idle_hooks(callback)", "pass"),
    Fault("engine/src/kindling/lightning_internals/hooks.py", "and hook_name not in attributes", ""),
    Fault("engine/src/kindling/lightning_internals/hooks.py", "module._current_fx_name = outer_hook", "pass"),
    Fault("engine/src/kindling/lightning_internals/hooks.py", "if not callable(hook):", "if False:"),
    Fault("engine/src/kindling/lightning_internals/signal_handlers.py", "= register_none", "= lambda: None"),
    Fault(
        "engine/src/kindling/lightning_internals/launched.py",
        "            callback.load_state_dict(state)\n",
        "            pass\n",
    ),
    Fault(
        "engine/src/kindling/lightning_internals/overhead.py",
        'os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)',
        "pass",
    ),
    Fault("engine/src/kindling/training/compilation.py", "net.compile(mode=mode)", "torch.compile(net, mode=mode)"),
    Fault("engine/src/kindling/process/start_and_end.py", "gc.freeze()\n        gc.enable()\n", "gc.freeze()\n"),
    Fault("engine/src/kindling/process/start_and_end.py", "sys._getframe(3)", "sys._getframe(2)"),
    Fault("engine/src/kindling/run_folders/record.py", '[*before.pop("earlier", []), {', "[{"),
    Fault("engine/src/kindling/run_folders/lifecycle.py", "        _open_record.reset(token)\n", ""),
    Fault("engine/src/kindling/cli/outcome.py", "        raise error\n", "        pass\n"),
    Fault("engine/src/kindling/process/start_and_end.py", "code or COULD_NOT_FLUSH", "code"),
    Fault("engine/src/kindling/process/start_and_end.py", "    atexit._run_exitfuncs()\n", "    pass\n"),
    Fault("engine/src/kindling/config/once.py", "copy.deepcopy(_files[key])", "_files[key]"),
    Fault("engine/src/kindling/config/once.py", "(stat.st_mtime_ns, stat.st_size)", "0"),
    Fault("engine/src/kindling/config/once.py", "master_config.hydra.searchpath or", ""),
    Fault("engine/src/kindling/config/check/nodes.py", "if misspelt:", "if False:"),
    Fault("engine/src/kindling/config/once.py", "config = copy.deepcopy(base)", "config = base"),
    Fault("engine/src/kindling/config/once.py", "not (chooses or override.is_hydra_override())", "not chooses"),
    Fault("engine/src/kindling/config/once.py", "base is None or master is not master_config", "base is None"),
    Fault("engine/src/kindling/config/once.py", "overrides if override not in values)", "overrides)"),
    Fault("engine/src/kindling/train.py", "data, best, verbose=False", "data, None, verbose=False"),
    Fault("engine/src/kindling/train.py", "seed_everything(cfg.seed, workers=True, verbose=False)", "pass"),
    Fault("engine/src/kindling/train.py", "if cfg.train and trainer.global_step == 0:", "if False:"),
    Fault("engine/src/kindling/train.py", "net.train()", "pass"),
    Fault(
        "engine/src/kindling/checkpoints/checkpoint.py",
        'map_location="cpu", weights_only=True',
        'map_location="cpu", weights_only=False',
    ),
    Fault("engine/src/kindling/checkpoints/checkpoint.py", "return records.testzip()", "return None"),
    Fault("engine/src/kindling/config/check/annotations.py", "and not isinstance(value, bool)", ""),
    Fault("engine/src/kindling/config/check/annotations.py", "return len(items) == len(value) and", "return"),
    Fault("engine/src/kindling/config/check/command_line.py", "elif there and override.is_add() and", "elif False and"),
    Fault("engine/src/kindling/config/check/command_line.py", "if not values:", "if False:"),
    Fault(
        "engine/src/kindling/config/check/command_line.py",
        "return self._composed[lines].copy()",
        "return self._composed[lines]",
    ),
    Fault(
        "engine/src/kindling/cli/arguments.py",
        "[*(each for each in arguments if each not in given.overrides), *given.overrides]",
        "list(arguments)",
    ),
    Fault(
        "engine/src/kindling/config/check/files.py",
        'mark.line + 1}"\n        return ""',
        'mark.line}"\n        return ""',
    ),
    Fault("engine/src/kindling/config/check/files.py", "yield from self.faults(", "self.faults("),
    Fault("engine/src/kindling/config/check/keys.py", "    if same_name:", "    if False:"),
    Fault(
        "engine/src/kindling/training/machine.py",
        "isinstance(module, UNORDERED) and not single",
        "isinstance(module, UNORDERED)",
    ),
    Fault(
        "engine/src/kindling/config/check/nodes.py",
        "if key not in takes and not known.takes_more",
        "if key not in takes",
    ),
    Fault("engine/src/kindling/config/check/nodes.py", "if source(config, fault.path) not in faulty", ""),
    Fault("engine/src/kindling/config/rules/callback_rules.py", "every > epochs > 0", "every >= epochs > 0"),
    Fault(
        "engine/src/kindling/config/rules/callback_rules.py",
        "patience >= validations > 0",
        "patience > validations > 0",
    ),
    Fault("engine/src/kindling/config/rules/callback_rules.py", "if validations == epochs else", "if every else"),
    Fault("engine/src/kindling/config/rules/callback_rules.py", "if right and mode in", "if False and mode in"),
    Fault("engine/src/kindling/config/signatures.py", "own.required | (base.required & rest.keys())", "own.required"),
    Fault(
        "engine/src/kindling/config/signatures.py",
        "with suppress(TargetMissing):\n            return _find(source, name)",
        "pass",
    ),
    Fault("engine/src/kindling/config/check/syntax.py", "if parse(line).value() == value:", "if True:"),
    Fault("engine/src/kindling/config/check/tree.py", 'if "HydraConfig was not set" not in str(error)', "if True"),
    Fault("engine/src/kindling/config/bounds.py", "and math.isfinite(value)", ""),
    Fault("engine/src/kindling/config/extras.py", "extra = extra or next(", "extra = next("),
    Fault("engine/src/kindling/config/bounds.py", "each.open not in", "each.open in"),
    Fault(
        "engine/src/kindling/config/check/annotations.py",
        'if not bounds:\n                return ""',
        "if False:\n                pass",
    ),
    Fault("engine/src/kindling/config/aliases.py", "if (module, name) in seen:", "if False:"),
    Fault("engine/src/kindling/config/aliases.py", 'if key.startswith("*") and', "if False and"),
    Fault(
        "engine/src/kindling/config/sources.py",
        "if key not in found or _same(found[key], binding) else None",
        "or None",
    ),
    Fault("engine/src/kindling/config/targets.py", "or not origin.startswith(allowed_prefixes())", ""),
    # No batch is shared.
    Fault("engine/src/kindling/inference/serving/batching.py", "        while room > 0:", "        while False:"),
    # A client gets another's answer.
    Fault("engine/src/kindling/inference/serving/batching.py", "zip(wanted, np.split", "zip(wanted[::-1], np.split"),
    Fault("engine/src/kindling/inference/serving/batching.py", "self.waiting -= len(answers)", "pass"),
    Fault(
        "engine/src/kindling/inference/serving/body.py",
        "if self.held > self.bodies.limits.max_body_bytes:",
        "if False:",
    ),
    Fault("engine/src/kindling/inference/serving/pixels.py", "if _num_pixels(opened) > max_pixels:", "if False:"),
    Fault("engine/src/kindling/inference/serving/pixels.py", "if time.thread_time() > self._end:", "if False:"),
    Fault("engine/src/kindling/inference/serving/pixels.py", "_num_scans(file) > MOST_SCANS", "False"),
    Fault("engine/src/kindling/inference/serving/pixels.py", "marker is None or marker[1][0] == END", "marker is None"),
    Fault("engine/src/kindling/inference/serving/pixels.py", "MOST_SCANS * _num_parts(image)", "MOST_SCANS"),
    Fault("engine/src/kindling/inference/serving/pixels.py", 'file.count(b"#") > MOST_COMMENTS', "True"),
    Fault("engine/src/kindling/inference/serving/body.py", "> MOST_VALUES", "> 10**9"),
    Fault("engine/src/kindling/inference/serving/body.py", "if len(content_type) > MOST_TYPE_LETTERS", "if False"),
    Fault("engine/src/kindling/inference/serving/body.py", 'QUOTED.sub(b"", self.value)', "self.value"),
    Fault("engine/src/kindling/inference/serving/connection.py", "return hard // 2", "return MOST_CONNECTIONS"),
    Fault(
        "engine/src/kindling/process/signals.py", "            raise _State.ended_by from None\n", "            raise\n"
    ),
    Fault(
        "engine/src/kindling/inference/serving/connection.py",
        "        self._unread = self.loop.call_later(self.timeout_s, self.transport.abort)\n",
        "",
    ),
    Fault("engine/src/kindling/inference/serving/connection.py", "        super().connection_lost(exc)\n", ""),
    Fault(
        "engine/src/kindling/inference/serving/served.py",
        "== (model.id, model.described):",
        "== (model.id, self.current.described):",
    ),
    Fault(
        "engine/src/kindling/inference/serving/served.py",
        "replace(self.source, folder=self.source.exported())",
        "self.source",
    ),
    Fault(
        "engine/src/kindling/inference/serving/gate.py",
        "if not hmac.compare_digest(given",
        "if given and not hmac.compare_digest(given",
    ),
    Fault("engine/src/kindling/inference/serving/served.py", "        warm(model, self.max_batch)\n", ""),
    Fault(
        "engine/src/kindling/evaluate.py",
        'run = trainer.validate if cfg.split == "val" else trainer.test',
        "run = trainer.test",
    ),
    Fault("engine/src/kindling/evaluate.py", "labels[:, None]).any(1)", "labels[:, None]).all(1)"),
    Fault("engine/src/kindling/inference/predicting/journal.py", "        self._stream.seek(end)\n", ""),
    Fault(
        "engine/src/kindling/inference/predicting/journal.py",
        "return None if found is None else found == self.header",
        "return None if found is None else True",
    ),
    Fault(
        "engine/src/kindling/inference/predicting/image_names.py",
        "_identity(path)) not in above",
        "_identity(path)) is not None",
    ),
    Fault("engine/src/kindling/inference/predicting/image_names.py", "            del above[-1:]\n", ""),
    Fault(
        "engine/src/kindling/inference/predicting/journal.py",
        "if not (line.startswith(START) or START.startswith(line))",
        "if False",
    ),
    Fault("engine/src/kindling/config/rules/run_rules.py", "threads > cores", "threads > 1024"),
    Fault("engine/src/kindling/process/streams.py", "or open(2", "or None and open(2"),
    Fault("engine/src/kindling/files/whole_folder.py", ' + "/" * each.is_dir()', ""),
    Fault("engine/src/kindling/images/decoding.py", "if integers.min() < 0:", "if False:"),
    Fault(
        "engine/src/kindling/inference/predicting/tables.py",
        "order = order[: self.top_k]",
        "order = order[-self.top_k :]",
    ),
    Fault("engine/src/kindling/predict.py", "if len(waiting) >= ahead:", "if len(waiting) >= 4 * ahead:"),
    Fault("engine/src/kindling/predict.py", "        if journal.is_there():\n", "        if True:\n"),
    Fault(
        "engine/src/kindling/inference/predicting/journal.py", "!= [(row[0], row[-1])", "!= [(row[0], stamp_of(row[0]))"
    ),
    Fault(
        "engine/src/kindling/inference/predicting/rules.py",
        'and not config["overwrite"] and not journal.is_of(output)',
        'and not config["overwrite"]',
    ),
    Fault("engine/src/kindling/images/plots.py", "losses[logits.argmax(1) == labels] = -1", "pass"),
    Fault("engine/src/kindling/files/redaction.py", "if config is not None and _is_secret(key):", "if False:"),
    Fault("engine/src/kindling/data/seeds.py", "SeedSequence(numbers)", "SeedSequence(numbers[0])"),
    Fault("engine/src/kindling/images/folder.py", "if real in seen:", "if False:"),
    Fault("engine/src/kindling/images/folder.py", "return 1 if grey else 3", "return 3 if grey else 1"),
    Fault(
        "engine/src/kindling/run_folders/lifecycle.py", '"interrupted" if interruption(error) else "failed"', '"failed"'
    ),
    Fault("engine/src/kindling/run_folders/resumption.py", 'if not given["resume"]:', "if False:"),
    Fault("engine/src/kindling/run_folders/record.py", "            remove_leftovers(self.folder)\n", ""),
    Fault("engine/src/kindling/run_folders/resumption.py", "    if refused:", "    if False:"),
    Fault(
        "engine/src/kindling/run_folders/resumption.py",
        "and (strict or not is_among(key, BITS))",
        "and not is_among(key, BITS)",
    ),
    Fault("engine/src/kindling/run_folders/resumption.py", "sorted(found, reverse=True)", "sorted(found)"),
    Fault(
        "engine/src/kindling/loggers/csv.py",
        "self._write_table(rows[: self._num_rows])\n            self._write_row()",
        "pass",
    ),
    Fault(
        "engine/src/kindling/checkpoints/resume_files.py",
        '        file.rename(file.with_name(f"{file.name}.damaged"))\n',
        "        pass\n",
    ),
    Fault("engine/src/kindling/checkpoints/resume_files.py", "if last.exists() and not any(", "if False and not any("),
    Fault("engine/src/kindling/training/start.py", 'if saved is None and run.config["fork"]:', "if False:"),
    Fault(
        "engine/src/kindling/training/initial_state.py",
        "classifier.lr_factor = lr_factor(start.config, config)",
        "pass",
    ),
    Fault("engine/src/kindling/training/start.py", "    if PROGRESS not in saved.content:", "    if False:"),
    Fault("engine/src/kindling/lightning_internals/results.py", "before + now if adds", "now if adds"),
    Fault("engine/src/kindling/lightning_internals/results.py", "metric._update_count = saved", "_ = saved"),
    Fault("engine/src/kindling/images/classifier.py", "seed_all(self._epoch_seed + batch_idx, self.device)", "pass"),
    Fault("engine/src/kindling/images/classifier.py", 'self.totals["train"].restore(', 'self.totals["test"].restore('),
    Fault("engine/src/kindling/lightning_internals/loops.py", 'batches["is_last_batch"] = False', "pass"),
    Fault(
        "engine/src/kindling/lightning_internals/loops.py",
        '            counter["ready"] -= 1',
        "            pass",
    ),
    Fault("engine/src/kindling/lightning_internals/loops.py", "trainer.check_val_every_n_epoch = sys.maxsize", "pass"),
    Fault("engine/src/kindling/lightning_internals/loops.py", "trainer.fit_loop._restarting = False", "pass"),
    Fault(
        "engine/src/kindling/checkpoints/resume_checkpoint.py",
        "            trainer.num_sanity_val_steps = 0",
        "            pass",
    ),
    Fault(
        "engine/src/kindling/lightning_internals/results.py",
        "_callback_metrics.update(on_device)",
        "_callback_metrics.update({})",
    ),
    Fault("engine/src/kindling/checkpoints/resume_checkpoint.py", "        refuse_longer_schedule(trainer)\n", ""),
    Fault(
        "engine/src/kindling/checkpoints/resume_checkpoint.py",
        "if batch_idx % trainer.accumulate_grad_batches or",
        "if",
    ),
    Fault("engine/src/kindling/callbacks/averages.py", 'trainer.state.fn == "fit" and', ""),
    Fault("engine/src/kindling/files/whole_file.py", "            error.filename = str(path)", "            pass"),
    Fault(
        "engine/src/kindling/files/whole_file.py",
        "        with suppress(OSError):\n            temporary.unlink()\n",
        "",
    ),
    Fault(
        "engine/src/kindling/process/signals.py",
        "    if now - _State.received_at < SAME_SIGNAL_S:\n        return\n",
        "",
    ),
    Fault("engine/src/kindling/process/signals.py", "_end(signal.Signals[str(_State.request)])", "pass"),
    Fault("engine/src/kindling/process/parent.py", "ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)", "pass"),
    Fault("engine/src/kindling/run_folders/lock.py", "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB"),
    Fault("engine/src/kindling/run_folders/lock.py", "    if folder / NAME in _ours:\n        return True\n", ""),
    Fault("engine/src/kindling/training/fit.py", "min(deadline, saver.deadline)", "saver.deadline"),
    Fault(
        "engine/src/kindling/training/replay.py",
        "        saver.saves = False",
        "        pass",
    ),
    Fault("engine/src/kindling/lightning_internals/launched.py", "launcher.kill(signal.SIGKILL)", "pass"),
    Fault("engine/src/kindling/training/divergence.py", "reversed(gradients)", "iter(gradients)"),
    Fault("engine/src/kindling/training/divergence.py", "self._first = self._first._replace(batch=None)", "pass"),
    Fault("engine/src/kindling/training/failures.py", "if DEAD_WORKER.match(text):", "if False:"),
    Fault("engine/src/kindling/training/failures.py", "trainer.accumulate_grad_batches * batches", "batches"),
    Fault("engine/src/kindling/checkpoints/agreement.py", 'reduce_op="max"', 'reduce_op="min"'),
    Fault("engine/src/kindling/checkpoints/agreement.py", "int(POLL_S / max(slowest_s, 1e-6))", "POLL_STEPS"),
    Fault("engine/src/kindling/checkpoints/conditions.py", "if changed and strict:", "if False:"),
    Fault("engine/src/kindling/checkpoints/content.py", "if inside == Path() or re.fullmatch", "if re.fullmatch"),
    Fault(
        "engine/src/kindling/config/foreign.py",
        'for path, key, value in nodes(absolute(upgrade(config, written)), ""):',
        "for path, key, value in ():",
    ),
    Fault(
        "engine/src/kindling/images/classifier.py", '_results.pop("training_step.train/loss_step", None)', "_results"
    ),
    Fault("engine/src/kindling/images/loader.py", "        return self._decoder._iterator\n", "        return None\n"),
    Fault("engine/src/kindling/training/start.py", "        resume_files.bring_back(saved.path)\n", ""),
    Fault("engine/src/kindling/training/fork.py", "math.inf in factors or len(factors) > 1", "math.inf in factors"),
    Fault("engine/src/kindling/checkpoints/limits.py", "0 <= given < least:", "False:"),
    Fault("engine/src/kindling/run_folders/lifecycle.py", "            record.restore()\n", ""),
    Fault("engine/src/kindling/run_folders/resumption.py", "return all(_absolute(", "return True or all(_absolute("),
    Fault(
        "engine/src/kindling/checkpoints/resume_checkpoint.py", "        checkpoints.forget_best(state, callback)\n", ""
    ),
    Fault(
        "engine/src/kindling/process/signals.py",
        "if signal.getsignal(signum) != signal.SIG_IGN:\n            signal.signal(signum, _handle)\n\n",
        "if True:\n            signal.signal(signum, _handle)\n\n",
    ),
    Fault("engine/src/kindling/process/signals.py", "        os.dup2(nowhere, descriptor)", "        pass"),
    Fault(
        "engine/src/kindling/training/rollback.py", "place.batch is not None and not repeats", "place.batch is not None"
    ),
    Fault("engine/src/kindling/images/classifier.py", "return full / rest if rest and", "return 1.0 if rest and"),
    Fault("engine/src/kindling/debug/phases.py", "phase_of(region) or self._open[-1]", "phase_of(region) or REST"),
    Fault("engine/src/kindling/debug/phases.py", "None, self.num_steps + 1", "self._since, self.num_steps + 1"),
    Fault("engine/src/kindling/debug/report.py", "key=lambda row: -row.self_ms", "key=lambda row: row.name"),
    Fault("engine/src/kindling/debug/profiler.py", "        self._trace.step()\n", ""),
    Fault(
        "engine/src/kindling/train.py",
        'profiler.dirpath, profiler.filename = profiler.dirpath or folder, "profile"',
        "pass",
    ),
    Fault("engine/src/kindling/callbacks/monitor.py", "sorted(vanished & self._vanished)", "sorted(vanished)"),
    Fault("engine/src/kindling/callbacks/monitor.py", "if key not in self._reported:", "if True:"),
    Fault(
        "engine/src/kindling/callbacks/activations.py", "(output.detach().amax(others) <= 0)", "(output.detach() <= 0)"
    ),
    Fault("engine/src/kindling/callbacks/activations.py", "            handle.remove()", "            pass"),
    Fault("engine/src/kindling/debug/shapes.py", "each.copy_(buffers[name])", "pass"),
    Fault("engine/src/kindling/debug/shapes.py", "if len(calls) == before:", "if True:"),
    Fault("engine/src/kindling/debug/bytes_held.py", "if storage.data_ptr() not in own:", "if True:"),
    Fault(
        "engine/src/kindling/debug/bytes_held.py",
        "sum({each.data_ptr(): each.nbytes() for each in storages}.values())",
        "sum(each.nbytes() for each in storages)",
    ),
    Fault("engine/src/kindling/debug/memory.py", "available + estimate.fixed)", "available)"),
    Fault("engine/src/kindling/callbacks/gradients.py", "gradient / scale for", "gradient for"),
    Fault("engine/src/kindling/callbacks/gradient_norm.py", "        if not gradients:", "        if gradients:"),
    Fault(
        "engine/src/kindling/callbacks/gradient_norm.py", "get_total_norm(gradients)", "get_total_norm(gradients, 1.0)"
    ),
    Fault("engine/src/kindling/callbacks/histograms.py", "values[values.isfinite()]", "values"),
    Fault("engine/src/kindling/callbacks/histograms.py", "not trainer.is_last_batch or", ""),
    Fault("engine/src/kindling/images/training_images.py", "cpu() * std + mean", "cpu() * std - mean"),
    Fault("engine/src/kindling/images/training_images.py", ".mul(255).round()", ".mul(255)"),
    Fault("engine/src/kindling/callbacks/graph.py", "copy.deepcopy(pl_module.net).eval()", "pl_module.net.eval()"),
    Fault("engine/src/kindling/callbacks/graph.py", "torch.random.fork_rng(gpus), ", ""),
    Fault("engine/src/kindling/callbacks/graph.py", "trainer.global_step and config", "config"),
    Fault("engine/src/kindling/images/validation_pictures.py", "and not trainer.sanity_checking", ""),
    Fault(
        "engine/src/kindling/images/validation_pictures.py",
        "kept, self._kept = self._kept, None",
        "kept = self._kept",
    ),
    Fault("engine/src/kindling/images/validation_pictures.py", "shares.transpose(0, 1).flatten", "shares.flatten"),
    Fault(
        "engine/src/kindling/images/plots.py",
        "labels * num_classes + logits.argmax(1)",
        "labels + num_classes * logits.argmax(1)",
    ),
    Fault("engine/src/kindling/callbacks/drawing.py", "(trainer.current_epoch + 1) %", "trainer.current_epoch %"),
    Fault("engine/src/kindling/callbacks/timings.py", "current_step(trainer) - 1", "current_step(trainer)"),
    Fault("engine/src/kindling/config/rules/callback_rules.py", "drawing = [] if board else", "drawing ="),
    Fault("engine/src/kindling/images/doctor/training_rules.py", "least >= 0 and off_one < ROUNDING", "off_one < 0"),
    Fault("engine/src/kindling/images/doctor/training_rules.py", "if each.requires_grad]", "]"),
    Fault(
        "engine/src/kindling/images/doctor/training_rules.py", "right = 1 - smoothing + other", "right = 1 - smoothing"
    ),
    Fault("engine/src/kindling/images/doctor/data_rules.py", "ratio.min() < 1 / SPREAD", "ratio.min() < 0"),
    Fault("engine/src/kindling/images/doctor/data_rules.py", "- trained)", "- set())"),
    Fault(
        "engine/src/kindling/images/doctor/fetching.py",
        "self.seconds += self._stopped - self._started",
        "self.seconds += 0",
    ),
    Fault("engine/src/kindling/images/doctor/callback.py", 'self._reported.update(state_dict["told"])', "pass"),
    Fault("engine/src/kindling/debug/find_lr.py", "self._rate * share", "self._rate"),
    Fault("engine/src/kindling/debug/find_lr.py", "** (1 / 3)", "** 1"),
    Fault("engine/src/kindling/debug/find_batch_size.py", "trainer.fit_loop._combined_loader = None", "pass"),
    Fault("engine/src/kindling/config/rules/logger_rules.py", "if not all(map(find_spec, modules)):", "if False:"),
    Fault("engine/src/kindling/loggers/tracking.py", "tags(run), ids.get(name))", "tags(run), None)"),
    Fault("engine/src/kindling/run_folders/record.py", "        self.close_trackers(status, reason)\n", ""),
    Fault(
        "engine/src/kindling/run_folders/record.py", 'self.facts["tracked_as"] = before.get("tracked_as", {})', "pass"
    ),
    Fault("engine/src/kindling/training/fit.py", "        tracking.begin(parts.trainer.loggers, run)\n", ""),
    Fault(
        "engine/src/kindling/loggers/mlflow_run.py",
        "for key, value in now.items() if key not in before]",
        "for key, value in now.items()]",
    ),
    Fault("engine/src/kindling/loggers/mlflow_run.py", "        self.write()\n        return {}", "        return {}"),
    Fault("engine/src/kindling/loggers/wandb_run.py", "x_disable_meta=True", "x_disable_meta=False"),
    Fault("engine/src/kindling/process/start_and_end.py", "if enabled:", "if True:"),
]

# Classical bugs, which the contracts of tests/test_models.py and tests/test_data.py must catch by themselves.
CONTRACT_FAULTS = [
    # Normalisation is left out.
    Fault("engine/src/kindling/images/augment.py", ".div_(255).sub_(mean).div_(std)", ".div_(255)"),
    Fault("engine/src/kindling/images/augment.py", ".sub_(mean).div_(std)", ".div_(std).sub_(mean)"),
    Fault(
        "engine/src/kindling/images/augment.py",
        "pixels.view(batch, height, width, channels).permute(0, 3, 1, 2)",
        "pixels.view(batch, channels, height, width)",
    ),
    Fault(
        "engine/src/kindling/images/datamodule.py",
        'return self.loader("val")',
        'return self.loader("val", augment=self.augment)',
    ),
    Fault(
        "engine/src/kindling/images/datamodule.py",
        'return self.loader("val")',
        'return self.loader("val", shuffle=True)',
    ),
    Fault("engine/src/kindling/images/datamodule.py", 'return self.loader("test")', 'return self.loader("train")'),
    Fault(
        "engine/src/kindling/images/image_folder.py",
        'listed["train"] = [listed["train"][i] for i in kept.tolist()]',
        "pass",
    ),
    Fault(
        "engine/src/kindling/images/image_folder.py",
        "label for _, label in listed])\n        files",
        "0 for _ in listed])\n        files",
    ),
    # The targets are shuffled.
    Fault("engine/src/kindling/images/fake.py", "+ noise, labels)", "+ noise, labels[torch.randperm(num_images)])"),
    Fault(
        "engine/src/kindling/data/splits.py",
        "manual_seed(SPLIT_SEED)\n    held",
        "manual_seed(torch.initial_seed())\n    held",
    ),
    # Each epoch has the same order.
    Fault("engine/src/kindling/images/loader.py", "mix_seeds(self.seed, self.epoch)", "mix_seeds(self.seed, 0)"),
    Fault(
        "engine/src/kindling/images/loader.py", "labels = self.images.labels[indices]", "labels = self.images.labels"
    ),
    # Images are drawn with replacement.
    Fault(
        "engine/src/kindling/images/loader.py",
        "torch.randperm(self.num_images, generator=generator)",
        "torch.randint(self.num_images, (self.num_images,), generator=generator)",
    ),
    Fault(
        "engine/src/kindling/images/loader.py",
        "torch.randperm(self.num_images, generator=generator)",
        "torch.randperm(self.num_images)",
    ),
    Fault(
        "engine/src/kindling/images/loader.py",
        "yield self.normalize(images), labels",
        "yield self.normalize(images).double(), labels",
    ),
    Fault(
        "engine/src/kindling/images/classifier.py",
        "self.criterion(logits, labels)",
        "self.criterion(logits, (labels + 1) % logits.shape[1])",
    ),
    Fault(
        "engine/src/kindling/images/classifier.py",
        "self.criterion(logits, labels)",
        "self.criterion(logits.softmax(1), labels)",
    ),
    Fault(
        "engine/src/kindling/images/classifier.py",
        "self.criterion(logits, labels)",
        "self.criterion(logits, labels.flip(0))",
    ),
    Fault(
        "engine/src/kindling/images/classifier.py",
        "self.criterion(logits, labels)",
        "self.criterion(logits, labels) * len(labels)",
    ),
    Fault("engine/src/kindling/images/classifier.py", "parameter.grad = None", "pass"),
    Fault("engine/src/kindling/images/classifier.py", "return loss if", "return (loss * 1e-9) if"),
    Fault(
        "engine/src/kindling/images/classifier.py",
        'self._step(batch, "val")[1]',
        '(self.train(), self._step(batch, "val"))[1][1]',
    ),
    Fault(
        "engine/src/kindling/images/classifier.py",
        'self._step(batch, "test")[1]',
        '(self.train(), self._step(batch, "test"))[1][1]',
    ),
    Fault("engine/src/kindling/images/metrics.py", "add_(loss.detach(), alpha=num_images)", "add_(loss.detach())"),
    # Biases and norms are not trained.
    Fault(
        "engine/src/kindling/training/optimization.py",
        "    for name, parameter in net.named_parameters():\n        if parameter.requires_grad:",
        "    for name, parameter in net.named_parameters():\n        if parameter.ndim > 1:",
    ),
]
