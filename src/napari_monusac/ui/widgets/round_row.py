"""The row that leads through a round of improving the model: queue, correct, retrain, guard."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_monusac.app.improving import ImprovingModel, RoundStep
from napari_monusac.ui.widgets.basic import calm


class RoundRow(QWidget):
    """Four buttons, each of which does its step or goes where it is done. One that rests says why on hover.

    Parameters
    ----------
    improving : ImprovingModel
    """

    def __init__(self, improving: ImprovingModel) -> None:
        super().__init__()
        self.improving = improving
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(2)
        self.buttons = {step: calm(QPushButton(step.value)) for step in RoundStep}
        for step, button in self.buttons.items():
            box.addWidget(button, 1)
            button.clicked.connect(lambda _=False, s=step: improving.go(s))
        self.show_steps()

    def show_steps(self) -> None:
        """Show how far each step is."""
        for at, state in enumerate(self.improving.steps(), start=1):
            button = self.buttons[state.step]
            button.setText(f"{at} {state.text}")
            button.setEnabled(not state.why)
            button.setToolTip(state.why or state.tip)
