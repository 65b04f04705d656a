// What the theme leaves out for those who use a keyboard or a screen reader: wide tables can be reached and scrolled, and the
// search says what it is.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
const reachable = () =>
  document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code").forEach(wide => (wide.tabIndex = 0));
new MutationObserver(reachable).observe(document.body, { childList: true, subtree: true });
reachable();
