"""Style of plots."""

from __future__ import annotations

from pathlib import Path

from expkit.plots import style


def test_names_with_dollars_are_drawn_as_they_stand(tmp_path: Path) -> None:
    name = r"restore.keep_initial=[a$,\frac$]"
    figure, (panel,) = style.panels(1, 1, (2, 2), name, name)
    panel.bar([name, "b"], [1, 1000], label=name)
    panel.legend()
    panel.set_yscale("log")
    panel.text(0, 1, name)
    style.quiet(panel, name, name, name)
    assert style.save(figure, tmp_path / "a.png").is_file()
    assert all(label.get_parse_math() for label in panel.yaxis.get_ticklabels())
    assert not any(label.get_parse_math() for label in panel.xaxis.get_ticklabels())
