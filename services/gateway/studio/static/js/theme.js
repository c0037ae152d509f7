// A classic script, run before anything is painted: the theme that was chosen here, if one was.
(() => {
  const chosen = localStorage.getItem("studio.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
})();
