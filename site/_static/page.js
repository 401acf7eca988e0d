// Living things: the module is fetched only where a page has some.
const here = document.currentScript.src
if (document.querySelector('[data-nca], [data-life]')) import(new URL('nca.js', here)).then(nca => nca.mountAll())

// Films rest for readers who ask for less motion: the first frame stands still, and a click plays it.
if (matchMedia('(prefers-reduced-motion: reduce)').matches) {
  const rest = img => {
    const still = document.createElement('canvas')
    still.width = img.naturalWidth; still.height = img.naturalHeight
    still.getContext('2d').drawImage(img, 0, 0)
    still.className = img.className
    still.style.width = img.width + 'px'
    still.setAttribute('role', 'img')
    still.setAttribute('aria-label', img.alt + ' (click to play)')
    still.addEventListener('click', () => still.replaceWith(img))
    img.replaceWith(still)
  }
  document.querySelectorAll('img.film, .cover img[src$=".webp"], .cover img[src$=".gif"]').forEach(img =>
    img.complete && img.naturalWidth ? rest(img) : img.addEventListener('load', () => rest(img), { once: true }))
}
