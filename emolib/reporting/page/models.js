// What lies across models and emotions: the comparison, and the regression check.

/** Return what fills the comparison of models. */
function comparisonParts(app) {
  const lines = (app.data.comparison?.lines ?? []).filter((line) => line.effect);
  if (!lines.length) return [];
  const kinds = [...new Set(lines.map((line) => line.ablation))];
  return [switched("Ablation", kinds, (kind) => {
    const rows = lines.filter((line) => line.ablation === kind);
    return figure({
      name: `comparison_${kind}`, most: 820,
      caption: `The strongest head of each model and emotion: effect of its ablation (${kind}) on logit_diff, with 95 % CI.`,
      draw: (width) => estimates(width, {
        axis: "effect on logit_diff, logits", text: "Strongest heads of models and emotions",
        rows: rows.map(({ model, emotion, strongest, effect: [mean, low, high] }) => ({
          name: `${named(model, 24)}, ${named(emotion, 16)}: ${strongest}`, mean, low, high,
        })),
      }),
      data: () => [["model", "emotion", "ablation", "strongest", "effect", "low", "high", "d_z", "depth", "significant"],
        rows.map((line) => [line.model, line.emotion, line.ablation, line.strongest, ...line.effect, line.d_z, line.depth, line.significant])],
    });
  })];
}

// Effects of the check that are drawn.
const MOST_CHECKED = 24;

/** Return what fills the regression check: drifts and how far they may go. */
function checkParts(app) {
  const effects = (app.data.check?.effects ?? []).filter((effect) => typeof effect.drift === "number");
  if (!effects.length) return [];
  const drawn = effects.slice(0, MOST_CHECKED);
  return [figure({
    name: "regression_check", most: 900,
    caption: `Drift of ${drawn.length} of ${effects.length} effects, worst first, in shares of what is allowed (δ): beyond the dashed lines is too far. Bars are the intervals that the check used.`,
    draw: (width) => estimates(width, {
      axis: "drift / δ", text: "Drift of effects, worst first", lines: [-1, 1],
      rows: drawn.map((effect) => ({
        name: named(effect.name),
        mean: effect.drift / effect.delta,
        ...(effect.ci ? { low: effect.ci[0] / effect.delta, high: effect.ci[1] / effect.delta } : {}),
      })),
    }),
    data: () => [["name", "model", "emotion", "heads", "metric", "verdict", "baseline", "now", "drift", "low", "high", "delta"],
      effects.map((effect) => [effect.name, effect.model, effect.emotion, effect.heads, effect.metric, effect.verdict,
        effect.baseline, effect.now, effect.drift, effect.ci?.[0], effect.ci?.[1], effect.delta])],
  })];
}
