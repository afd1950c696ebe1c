"""Mathematics as SVG, drawn when a page is made: the browser typesets nothing and loads no font."""

import html
import re

import ziamath

SIZE = 18.0  # pixels of an em as drawn; a page sizes formulas in em, so they follow its text


class FormulaError(ValueError):
    """LaTeX that cannot be drawn as it was meant; the message names the formula."""


def svg(tex: str, block: bool, drawn: set[str]) -> str:
    r"""LaTeX (without its dollars) as one inline <svg>, in the colour of the text around; a block is a <div>, `\tag{n}`
    at its right margin.

    drawn: the glyphs that the page holds already; each is defined once, by the formula that needs it first, and the set
    grows. Raises FormulaError naming the formula if a command, an argument or a brace is missing or unknown.
    """
    source, tag = tex.strip(), re.search(r"\\tag\{([^{}]*)\}", tex)
    plain = re.sub(r"\\tag\{[^{}]*\}", "", source)
    # a sign, not a difference: no space behind it
    plain = re.sub(r"(^|[=(\[,&<>{]|\\left\S|\\[,;]|\\q?quad)\s*-", r"\1{-}", plain)
    try:
        picture = ziamath.Latex(plain, size=SIZE, inline=not block, color="currentColor", margin=0)
    except Exception as err:  # the parser's errors share no base class
        raise FormulaError(f"formula that cannot be drawn ({type(err).__name__}): {source}") from None
    unknown = re.search(r"\\[A-Za-z]+", picture.mathmlstr())
    if unknown or len(re.findall(r"(?<!\\)\{", source)) != len(re.findall(r"(?<!\\)\}", source)):
        raise FormulaError(f"formula that cannot be drawn ({unknown[0] if unknown else 'unbalanced braces'}): {source}")

    def first(symbol: re.Match) -> str:
        known = symbol[1] in drawn
        drawn.add(symbol[1])
        return "" if known else symbol[0]

    text = re.sub(r'<symbol id="([^"]+)"[^>]*?(?:/>|>.*?</symbol>)', first, picture.svg(), flags=re.DOTALL)
    width, height = (float(n) / SIZE for n in re.search(r'width="([\d.]+)" height="([\d.]+)"', text).groups())
    style = f"width:{width:.3f}em;height:{height:.3f}em;vertical-align:{picture.getyofst() / SIZE:.3f}em"
    text = re.sub(r' width="[\d.]+" height="[\d.]+"', "", text, count=1)
    text = text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(source)}" style="{style}" ', 1)
    if not block:
        return text
    number = f"<span>({html.escape(tag[1])})</span>" if tag else ""
    return f'<div class="math" tabindex="0">{text}{number}</div>\n'
