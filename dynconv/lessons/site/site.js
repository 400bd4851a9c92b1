// What every page of the site does: remember which lessons were read to their end, and print all that is folded.
{
  const KEY = "dynconv lessons read";
  const page = location.pathname.split("/").pop();
  const read = () => {
    try {
      return JSON.parse(localStorage.getItem(KEY)) || {};
    } catch {
      return {}; // a browser that keeps nothing, or something that is not ours
    }
  };
  const keep = (pages) => {
    try {
      localStorage.setItem(KEY, JSON.stringify(pages));
    } catch {
      // it is not remembered then
    }
  };
  const end = document.querySelector("footer");
  if (end && document.querySelector("a[rel=prev], a[rel=next]")) {
    new IntersectionObserver(([seen], observer) => {
      if (!seen.isIntersecting || scrollY < innerHeight) return;
      keep({ ...read(), [page]: true });
      observer.disconnect();
    }).observe(end);
  }
  const cards = [...document.querySelectorAll("[data-lesson]")];
  const show = () => {
    const pages = read();
    const count = cards.filter((card) => pages[card.dataset.lesson]).length;
    for (const card of cards) card.classList.toggle("read", Boolean(pages[card.dataset.lesson]));
    const said = document.getElementById("progress");
    if (!said) return;
    said.hidden = !count;
    said.querySelector("span").textContent = `${count} of ${cards.length} lessons read to their end. `;
  };
  document.querySelector("#progress button")?.addEventListener("click", () => {
    keep({});
    show();
  });
  show();
  addEventListener("pageshow", show);
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("main details:not([open])")];
    for (const details of folded) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of folded) details.open = false;
  });
}
