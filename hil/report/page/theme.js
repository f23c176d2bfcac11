// The page follows the system's theme until somebody chooses one.

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
let themeChosen = false;
const themeListeners = [];

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  for (const listener of themeListeners) listener();
}

function toggleTheme() {
  themeChosen = true;
  setTheme(document.documentElement.dataset.theme !== "dark");
}

setTheme(systemIsDark.matches);
systemIsDark.addEventListener("change", () => themeChosen || setTheme(systemIsDark.matches));

