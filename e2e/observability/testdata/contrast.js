// Which texts are too pale to read, by the rule of WCAG 2: a contrast of 4.5, or
// of 3 for large text.

const channels = color => (color.match(/[\d.]+/g) || []).map(Number);

// alpha is 1 where the colour does not say.
const alpha = color => channels(color).length > 3 ? channels(color)[3] : 1;

const luminance = color => {
  const [r, g, b] = channels(color).slice(0, 3).map(c => c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};

const background = element => {
  for (let e = element; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor;
    if (alpha(color) === 1) return color;
  }
  return "rgb(255, 255, 255)";
};

const texts = () => [...document.querySelectorAll("body *")].filter(e =>
  [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim()) && !e.closest("title, desc, .hidden, .skip"));

const contrast = element => {
  const style = getComputedStyle(element);
  const [a, b] = [luminance(element.closest("svg") ? style.fill : style.color), luminance(background(element))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
};

const pale = () => texts().filter(e => {
  const style = getComputedStyle(e), size = parseFloat(style.fontSize);
  const large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
  return contrast(e) < (large ? 3 : 4.5);
}).map(e => e.textContent.trim().slice(0, 40) + ": " + contrast(e).toFixed(2));

