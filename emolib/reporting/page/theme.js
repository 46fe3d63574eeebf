// Light or dark: as the system says, until the button says otherwise. Kept in the page alone.

function startTheme(bar) {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () =>
    root.classList.contains("dark") || (dark.matches && !root.classList.contains("light"));
  const button = el("button", { type: "button", class: "quiet" });
  const tell = () => fill(button, isDark() ? "Light" : "Dark");
  button.addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    root.classList.remove("light", "dark");
    root.classList.add(next);
    tell();
  });
  dark.addEventListener("change", tell);
  tell();
  bar.append(button);
}
