"""Teacher and student (lesson 04), and the whole objective with a colour per term (lesson 07)."""

from __future__ import annotations

from dmaf_lite.figures.drawings.canvas import Canvas
from dmaf_lite.figures.explorers import TERMS
from dmaf_lite.figures.style import MODALITY_COLOURS
from dmaf_lite.spec import BRATS

TEACHER = "#6A4C93"


def teacher_and_student() -> Canvas:
    """What distillation compares, and where its gradient goes."""
    c = Canvas(1000, 430, "The fused map is the teacher, one scan's map the student; gradients reach the student only")
    c.text(140, 34, "encoders", css="ink title")
    for row, name in enumerate(BRATS.modalities):
        y, colour = 58 + 62 * row, MODALITY_COLOURS[name]
        c.box(60, y, 160, 44, colour=colour, fill=colour)
        c.text(140, y + 28, name)
        c.arrow((220, y + 22), (300, y + 22), (330, 130), colour=colour)
    c.box(330, 96, 130, 68, colour=TEACHER, fill=TEACHER)
    c.text(395, 126, "fusion")
    c.text(395, 148, "sees all scans", css="quiet small")
    c.arrow((460, 130), (560, 130), colour=TEACHER)
    c.box(560, 92, 190, 76, colour=TEACHER, fill=TEACHER)
    c.text(655, 122, "teacher")
    c.math(655, 150, "f   (detached: sg)")
    y = 58 + 62 * 3 + 22
    c.arrow((220, y), (260, y), (260, 330), (560, 330), colour=MODALITY_COLOURS[BRATS.modalities[-1]])
    c.text(400, 320, "one scan alone", css="quiet small")
    c.box(560, 292, 190, 76, colour=MODALITY_COLOURS[BRATS.modalities[-1]],
          fill=MODALITY_COLOURS[BRATS.modalities[-1]])
    c.text(655, 322, "student")
    c.math(655, 350, "e^m")
    compared = (("cov", "L_{cov}", "channels that rise together"), ("att", "L_{att}", "places that belong together"),
                ("proto", "L_{proto}", "where the classes lie (05)"))
    for number, (term, letters, words) in enumerate(compared):
        x = 585 + 62 * number
        c.arrow((x, 168), (x, 292), colour=TERMS[term], head=False, thick=3)
        y = 130 + 52 * number
        c.box(775, y - 16, 20, 20, colour=TERMS[term], fill=TERMS[term], radius=3)
        c.math(804, y, letters, anchor="start")
        c.text(804, y + 22, words, css="quiet small", anchor="start")
    c.arrow((560, 352), (140, 352), (140, 290), colour="#D55E00", thick=2.4)
    c.text(350, 374, "gradient: only the student's encoder learns", css="quiet small")
    c.lines(60, 404, ["Distillation: a network that sees more (the teacher) gives one that sees less (the student) "
                      "a goal for its features."], anchor="start")
    return c


def objective(levels: int) -> Canvas:
    """Where each term of equation (7) takes hold, one colour a term.

    Args:
        levels: L, of the network.
    """
    c = Canvas(1000, 470, "The whole objective: six terms, one colour each, and where they take hold in the network")

    def mark(x: float, y: float, term: str, letters: str) -> None:
        c.box(x, y, 128, 36, colour=TERMS[term], fill=TERMS[term], thick=2.6)
        c.math(x + 64, y + 24, letters)

    for row, name in enumerate(BRATS.modalities):
        c.box(40, 70 + 50 * row, 84, 38, colour=MODALITY_COLOURS[name], fill=MODALITY_COLOURS[name])
        c.text(82, 95 + 50 * row, name, css="ink small")
    c.text(82, 48, "scans", css="ink title")
    c.box(170, 70, 110, 188)
    c.text(225, 160, "encoders")
    c.math(225, 186, "e^m_l")
    c.arrow((124, 164), (170, 164))
    c.arrow((280, 120), (330, 120))
    c.box(330, 70, 110, 96, colour=TEACHER, fill=TEACHER)
    c.text(385, 112, "DMAF")
    c.math(385, 138, "f_l")
    c.arrow((440, 120), (500, 120))
    c.box(500, 70, 160, 96)
    c.text(580, 122, "fusion decoder")
    c.arrow((280, 232), (500, 232))
    c.box(500, 196, 160, 70)
    c.text(580, 236, "shared decoder")
    c.arrow((660, 100), (720, 100))
    mark(720, 82, "seg", "L_{seg}(z)")
    c.text(860, 105, "weight 1", css="quiet small", anchor="start")
    c.arrow((660, 146), (720, 146))
    mark(720, 128, "deep", "L_{seg}(z_l)")
    c.math(860, 152, "2^{-(l-1)}", anchor="start", css="quiet")
    c.text(915, 152, f"l = 2 … {levels}", anchor="start", css="quiet small")
    c.arrow((660, 232), (720, 232))
    mark(720, 214, "unimodal", "L_{seg}(z^m)")
    c.math(860, 238, "a_m", anchor="start", css="quiet")
    c.arrow((385, 166), (385, 300), colour=TEACHER)
    c.text(392, 290, "teacher", css="quiet small", anchor="start")
    c.arrow((225, 258), (225, 322), (300, 322), colour="#5b6570")
    c.text(232, 290, "students", css="quiet small", anchor="start")
    c.box(300, 300, 260, 128, css="gone")
    for number, (term, letters) in enumerate((("cov", "L^m_{cov}"), ("att", "L^m_{att}"), ("proto", "L^m_{proto}"))):
        mark(366, 308 + 40 * number, term, letters)
        c.math(590, 332 + 40 * number, f"a_m β^m w(t) λ_{{{term}}}", anchor="start", css="quiet")
    c.lines(770, 316, ["β: more for who lags (06)", "w: warm-up, teachers first", "λ: ours, see docs"],
            css="quiet small", anchor="start")
    c.text(40, 456, "The sum of the six, mean over studies, is what training makes small.", css="ink small",
           anchor="start")
    return c
