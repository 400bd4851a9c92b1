/* global ENTRIES -- written before this, into the same script */
{
  const input = document.getElementById("words");
  const found = document.getElementById("found");
  const said = document.getElementById("said");
  const around = (text, word) => {
    const at = Math.max(0, text.toLowerCase().indexOf(word) - 60);
    return (at ? "… " : "") + text.slice(at, at + 180) + (at + 180 < text.length ? " …" : "");
  };
  const rank = (entry, words) =>
    words.reduce((sum, word) => {
      const heading = entry.heading.toLowerCase().includes(word);
      const times = entry.text.toLowerCase().split(word).length - 1;
      return heading || times ? sum + (heading ? 10 : 0) + Math.min(times, 5) : -Infinity;
    }, 0);
  const line = ([, entry], word) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = entry.link;
    link.textContent = entry.heading === entry.page ? entry.page : `${entry.page}: ${entry.heading}`;
    const text = document.createElement("p");
    text.textContent = around(entry.text, word);
    item.append(link, text);
    return item;
  };
  const search = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const ranked = words.length ? ENTRIES.map((entry) => [rank(entry, words), entry]) : [];
    const best = ranked.filter(([points]) => points > 0).sort(([a], [b]) => b - a);
    found.replaceChildren(...best.slice(0, 30).map((hit) => line(hit, words[0])));
    said.textContent = words.length ? `${best.length} section${best.length === 1 ? "" : "s"}` : "";
    history.replaceState(null, "", words.length ? `#${encodeURIComponent(input.value)}` : location.pathname);
  };
  input.addEventListener("input", search);
  input.value = decodeURIComponent(location.hash.slice(1));
  search();
  input.focus();
}
