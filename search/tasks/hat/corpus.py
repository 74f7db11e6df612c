"""The embedded corpus: German-English sentences generated from number words, dates, times and amounts in carrier
frames.

German puts verbs last in subordinate clauses, splits prefixes off and inverts after a fronted time, so word order has
to be learned. Deterministic; the splits share frames and verbs but no content phrase (phrases.owner), hence no
sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from search.tasks.hat import phrases
from search.tasks.hat.phrases import Pair

SIZES = {"train": 16000, "valid": 1000, "test": 1000}


class Verb(NamedTuple):
    """German: auxiliary, participle, infinitive, finite stem, split-off prefix; English: past, base, participle, third
    person.
    """

    aux: str
    participle: str
    infinitive: str
    stem: str
    prefix: str
    past: str
    base: str
    perfect: str
    present: str


def _verbs(text: str) -> tuple[Verb, ...]:
    return tuple(Verb(*("" if f == "-" else f for f in line.split())) for line in text.strip().splitlines())


THINGS_VERBS = _verbs("""
hat gekauft kaufen kauft - bought buy bought buys
hat verkauft verkaufen verkauft - sold sell sold sells
hat gezählt zählen zählt - counted count counted counts
hat gefunden finden findet - found find found finds
hat verloren verlieren verliert - lost lose lost loses
hat geschickt schicken schickt - sent send sent sends
hat abgeholt abholen holt ab collected collect collected collects
hat mitgebracht mitbringen bringt mit brought bring brought brings
hat ausgepackt auspacken packt aus unpacked unpack unpacked unpacks
hat bestellt bestellen bestellt - ordered order ordered orders
hat gezeichnet zeichnen zeichnet - drew draw drawn draws
hat gewaschen waschen wäscht - washed wash washed washes
""")
MONEY_VERBS = _verbs("""
hat bezahlt bezahlen bezahlt - paid pay paid pays
hat gespart sparen spart - saved save saved saves
hat verdient verdienen verdient - earned earn earned earns
hat ausgegeben ausgeben gibt aus spent spend spent spends
hat überwiesen überweisen überweist - transferred transfer transferred transfers
hat zurückgezahlt zurückzahlen zahlt zurück repaid repay repaid repays
""")
TRAVEL_VERBS = _verbs("""
ist gefahren fahren fährt - drove drive driven drives
ist geflogen fliegen fliegt - flew fly flown flies
ist zurückgekehrt zurückkehren kehrt zurück returned return returned returns
ist gewandert wandern wandert - hiked hike hiked hikes
""")


def _pairs(text: str) -> tuple[Pair, ...]:
    return tuple(tuple(item.split("=")) for item in " ".join(text.split()).split(" ; "))


NAMES = _pairs(
    "anna=anna ; paul=paul ; maria=mary ; jonas=jonas ; frau weber=mrs weber ; herr klein=mr klein ; mein bruder=my"
    " brother ; unsere tante=our aunt"
)
PEOPLE = _pairs(
    "der lehrer, der=the teacher ; die ärztin, die=the doctor ; der nachbar, der=the neighbour ; die köchin, die=the"
    " cook ; der schüler, der=the pupil ; die malerin, die=the painter ; das kind, das=the child ; das mädchen, das=the"
    " girl"
)
PLURALS = _pairs(
    "bücher=books ; äpfel=apples ; briefe=letters ; stühle=chairs ; fahrräder=bicycles ; karten=tickets ; tassen=cups ;"
    " schlüssel=keys ; bilder=pictures ; hemden=shirts ; eier=eggs ; lampen=lamps ; pakete=parcels ; schuhe=shoes ;"
    " gläser=glasses ; blumen=flowers"
)
ADJECTIVES = _pairs(
    "rote=red ; alte=old ; neue=new ; kleine=small ; schwere=heavy ; schöne=beautiful ; billige=cheap ; gelbe=yellow"
)
CITIES = _pairs(
    "berlin=berlin ; münchen=munich ; köln=cologne ; wien=vienna ; zürich=zurich ; genf=geneva ; rom=rome ; prag=prague"
    " ; mailand=milan"
)
SAYING = _pairs("sagt=says ; glaubt=believes ; weiß=knows ; schreibt=writes ; behauptet=claims ; erzählt=tells us")
MODALS = _pairs("muss=must ; will=wants to ; kann=can ; soll=should ; möchte=would like to ; darf=is allowed to")


class Speaker:
    """Draws the parts of one sentence and remembers which content phrases it used."""

    def __init__(self, rng: np.random.Generator, split: str):
        self.rng, self.split = rng, split
        self.content: list[str] = []

    def pick(self, options: tuple) -> tuple:
        return options[self.rng.integers(len(options))]

    def phrase(self, *makers: Callable[[np.random.Generator], Pair]) -> Pair:
        pair, own = phrases.draw(makers[self.rng.integers(len(makers))], self.rng, self.split)
        if own:
            self.content.append(pair[0])
        return pair

    def who(self) -> Pair:
        german, english = self.pick(NAMES + PEOPLE)
        return german.split(",")[0], english

    def past(self) -> Pair:
        return self.phrase(phrases.date, phrases.clock, phrases.ago, phrases.weekday)

    def future(self) -> Pair:
        return self.phrase(phrases.date, phrases.clock, phrases.ahead, phrases.weekday)

    def event(self) -> tuple[Verb, Pair]:
        """A verb with its object or goal."""
        kind = self.rng.integers(5)
        if kind == 4:
            german, english = self.pick(CITIES)
            return self.pick(TRAVEL_VERBS), (f"nach {german}", f"to {english}")
        if kind == 3:
            return self.pick(MONEY_VERBS), self.phrase(phrases.amount)
        (n_de, n_en), (adj_de, adj_en), (de, en) = (
            self.phrase(phrases.cardinal),
            self.pick(ADJECTIVES),
            self.pick(PLURALS),
        )
        plain = self.rng.random() < 0.5
        return self.pick(THINGS_VERBS), (
            f"{n_de} {de}" if plain else f"{n_de} {adj_de} {de}",
            f"{n_en} {en}" if plain else f"{n_en} {adj_en} {en}",
        )


def _simple(s: Speaker, kind: int) -> Pair:
    """One clause: perfect, fronted time, future, fronted future, modal, present, question, when-question."""
    (a, b), (v, (o, p)) = s.who(), s.event()
    if kind in (2, 3, 4):
        t, u = s.future()
        m, n = s.pick(MODALS) if kind == 4 else ("wird", "will")
        return (
            f"{t} {m} {a} {o} {v.infinitive} ." if kind == 3 else f"{a} {m} {t} {o} {v.infinitive} .",
            f"{u} {b} {n} {v.base} {p} ." if kind == 3 else f"{b} {n} {v.base} {p} {u} .",
        )
    t, u = s.past()
    if kind == 0:
        return f"{a} {v.aux} {t} {o} {v.participle} .", f"{b} {v.past} {p} {u} ."
    if kind == 1:
        return f"{t} {v.aux} {a} {o} {v.participle} .", f"{u} {b} {v.past} {p} ."
    if kind == 5:
        t, u = s.phrase(phrases.clock)
        return f"{a} {v.stem} jeden tag {t} {o} {v.prefix} .", f"every day {b} {v.present} {p} {u} ."
    if kind == 6:
        return f"{v.aux} {a} {t} {o} {v.participle} ?", f"did {b} {v.base} {p} {u} ?"
    return f"wann {v.aux} {a} {o} {v.participle} ?", f"when did {b} {v.base} {p} ?"


def _complex(s: Speaker, kind: int) -> Pair:
    """A main and a subordinate clause: that, whether, because, although, after, if, relative, in order to."""
    (a, b), (c, d) = s.who(), s.who()
    v, (o, p) = s.event()
    t, u = s.past()
    if kind == 0:
        say, says = s.pick(SAYING)
        return f"{c} {say} , dass {a} {t} {o} {v.participle} {v.aux} .", f"{d} {says} that {b} {v.past} {p} {u} ."
    if kind == 1:
        return f"{c} fragt , ob {a} {t} {o} {v.participle} {v.aux} .", f"{d} asks whether {b} {v.past} {p} {u} ."
    w, (q, r) = s.event()
    if kind == 2:
        return (
            f"{c} wird {q} {w.infinitive} , weil {a} {t} {o} {v.participle} {v.aux} .",
            f"{d} will {w.base} {r} because {b} {v.past} {p} {u} .",
        )
    if kind == 3:
        return (
            f"{c} {w.aux} {q} {w.participle} , obwohl {a} {o} {v.infinitive} wollte .",
            f"{d} {w.past} {r} although {b} wanted to {v.base} {p} .",
        )
    if kind == 4:
        had = "hatte" if v.aux == "hat" else "war"
        return (
            f"nachdem {a} {t} {o} {v.participle} {had} , {w.aux} {c} {q} {w.participle} .",
            f"after {b} had {v.perfect} {p} {u} , {d} {w.past} {r} .",
        )
    if kind == 5:
        return (
            f"wenn {a} {o} {v.prefix}{v.stem} , wird {c} {q} {w.infinitive} .",
            f"if {b} {v.present} {p} , {d} will {w.base} {r} .",
        )
    (e, f), (x, y) = s.pick(PEOPLE), s.future()
    noun, pronoun = e.split(", ")
    if kind == 6:
        return (
            f"{noun} , {pronoun} {t} {o} {v.participle} {v.aux} , wird {q} {w.infinitive} .",
            f"{f} who {v.past} {p} {u} will {w.base} {r} .",
        )
    to = f"{w.prefix}zu{w.infinitive.removeprefix(w.prefix)}" if w.prefix else f"zu {w.infinitive}"
    return f"{noun} wird {x} kommen , um {q} {to} .", f"{f} will come {y} in order to {w.base} {r} ."


def sentence(rng: np.random.Generator, split: str) -> tuple[str, str, tuple[str, ...]]:
    """German, English and the content phrases that only this split may use (at least one)."""
    while True:
        s = Speaker(rng, split)
        make, kinds = (_simple, 8) if rng.random() < 0.5 else (_complex, 8)
        german, english = make(s, int(rng.integers(kinds)))
        if s.content:
            return " ".join(german.split()), " ".join(english.split()), tuple(s.content)


def generate(split: str, n: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """n different sentence pairs of one split, the same for the same seed."""
    rng, seen = np.random.default_rng([seed, phrases.SPLITS.index(split)]), set()
    while len(seen) < n:
        german, english, _ = sentence(rng, split)
        if german not in seen:
            seen.add(german)
            yield german, english
