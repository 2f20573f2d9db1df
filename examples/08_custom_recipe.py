"""Start from one of the nine runs, change what you want to try, see what changed, save it for the command line."""

from pathlib import Path

from napari_monusac import MonusacError, load_recipe, recipe_names

print("recipes:", ", ".join(recipe_names()))
run_8 = load_recipe("run-8")
mine = run_8.with_values(
    name="wider-edges", boundary_width=5, decoder_attention="scse", sampling="class-balanced", semantic_ce_weight=1.0
)
for field, (now, before) in mine.changes(run_8).items():
    print(f"  {field}: {before} -> {now}")
print(f"fingerprint {mine.fingerprint()} (run-8: {run_8.fingerprint()})")

Path("wider-edges.toml").write_text(mine.to_toml(), "utf-8")
print("train it: napari-monusac train --data FOLDER --recipe wider-edges.toml --run runs/wider-edges")

try:
    run_8.with_values(boundary_width=4)
except MonusacError as error:
    print(f"refused: {error}")
