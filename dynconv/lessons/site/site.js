/* global remembered, remember, forgetAll -- kept.js of the instruments, written before this into the same script */
// What every page of the site does: remember which lessons were read to their end, open what a bet was on, print all that is folded.
{
  const page = location.pathname.split("/").pop();
  const end = document.querySelector("footer");
  if (end && document.querySelector("a[rel=prev], a[rel=next]")) {
    new IntersectionObserver(([seen], observer) => {
      if (!seen.isIntersecting || scrollY < innerHeight) return;
      remember("read", page, true);
      observer.disconnect();
    }).observe(end);
  }
  const cards = [...document.querySelectorAll("[data-lesson]")];
  const show = () => {
    const { read: pages, bets } = remembered();
    const made = Object.keys(bets).length;
    const right = Object.values(bets).filter((bet) => bet.right).length;
    const count = cards.filter((card) => pages[card.dataset.lesson]).length;
    for (const card of cards) card.classList.toggle("read", Boolean(pages[card.dataset.lesson]));
    const said = document.getElementById("progress");
    if (!said) return;
    said.hidden = !count && !made;
    said.querySelector("span").textContent =
      `${count} of ${cards.length} lessons read to their end; ${made} of ${said.dataset.bets} bets made, ${right} of them right. `;
  };
  document.querySelector("#progress button")?.addEventListener("click", () => {
    forgetAll();
    show();
  });
  show();
  addEventListener("pageshow", show);
  addEventListener("dynconv-bet", ({ detail: { name, made } }) => {
    for (const after of document.querySelectorAll(`details[data-bet="${name}"]`)) after.open = made;
  });
  const header = document.querySelector("header");
  const tell = () => document.documentElement.style.setProperty("--dc-top", `${header.offsetHeight}px`);
  new ResizeObserver(tell).observe(header);
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("main details:not([open])")];
    for (const details of folded) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of folded) details.open = false;
  });
}
