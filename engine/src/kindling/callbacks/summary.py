"""A table of the model's modules and their parameters."""

from typing import Any

from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.utilities.model_summary.model_summary import get_human_readable_count

from kindling.console import as_text, plain_table, report


class Summary(ModelSummary):
    """Lightning's summary without the columns that need a pass through the model, which takes a second."""

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        *_: Any,
        **__: Any,
    ) -> None:
        columns = {name.strip(): values for name, values in summary_data}
        table = plain_table("name", "type", "parameters")
        for row in zip(columns["Name"], columns["Type"], columns["Params"], strict=True):
            table.add_row(*map(str, row))
        trainable, total = map(get_human_readable_count, (trainable_parameters, total_parameters))
        report("%s%s trainable of %s parameters", as_text(table), trainable.strip(), total.strip())
