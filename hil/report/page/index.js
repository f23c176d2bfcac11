// Which runs are listed: those whose row has all the words.

const buttonTheme = document.getElementById("theme");
buttonTheme.addEventListener("click", toggleTheme);
const words = document.getElementById("text");
words.addEventListener("input", () => {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of document.querySelectorAll("#runs tbody tr")) {
    row.hidden = !wanted.every((word) => row.textContent.toLowerCase().includes(word));
    shown += row.hidden ? 0 : 1;
  }
  document.getElementById("count").textContent = `${shown} shown`;
});
document.body.dataset.ready = "1";
