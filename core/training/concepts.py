"""Which concepts a model claims, and which pictures may be mirrored: rules over emojibase's names, written down.

Three tiers, each within the next. "all" is every concept drawn in at least three styles. "wide" leaves out what no one
tells apart at a glance: men and women of what exists as a person, things facing right that exist facing left, clock
faces, letters, keycaps, arrows, zodiac signs; and asks for five styles of the seven. "core" is a hand-made list of what
is distinct, nameable and in at least five styles, for models that two processor cores can train.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from core.errors import UserError

TIERS = ("core", "wide", "all")
_LEAST_STYLES = {"core": 5, "wide": 5, "all": 3}

_CORE = {
    "face-smiling": "grinning face; rolling on the floor laughing; face with tears of joy; upside-down face; melting "
                    "face; winking face; smiling face with halo",
    "face-affection": "smiling face with hearts; smiling face with heart-eyes; star-struck; face blowing a kiss",
    "face-tongue": "money-mouth face",
    "face-hand": "smiling face with open hands; thinking face",
    "face-neutral-skeptical": "zipper-mouth face; face with rolling eyes",
    "face-sleepy": "drooling face; sleeping face",
    "face-unwell": "face with medical mask; face with head-bandage; nauseated face; hot face; cold face; exploding "
                   "head",
    "face-hat": "cowboy hat face; partying face; disguised face",
    "face-glasses": "smiling face with sunglasses; nerd face",
    "face-concerned": "flushed face; loudly crying face; face screaming in fear",
    "face-negative": "smiling face with horns; skull; skull and crossbones",
    "face-costume": "pile of poo; clown face; ogre; goblin; ghost; alien; alien monster; robot",
    "cat-face": "smiling cat with heart-eyes; crying cat",
    "monkey-face": "see-no-evil monkey; hear-no-evil monkey; speak-no-evil monkey",
    "heart": "love letter; heart with arrow; sparkling heart; broken heart; heart on fire; red heart; orange heart; "
             "yellow heart; green heart; blue heart; purple heart; black heart",
    "emotion": "kiss mark; hundred points; collision; speech balloon; thought balloon; ZZZ",
    "hand-fingers-open": "waving hand; raised hand",
    "hand-fingers-partial": "OK hand; victory hand; sign of the horns; call me hand",
    "hand-single-finger": "index pointing up",
    "hand-fingers-closed": "thumbs up; thumbs down; raised fist",
    "hands": "clapping hands; handshake; folded hands",
    "hand-prop": "nail polish",
    "body-parts": "flexed biceps; ear; nose; brain; tooth; bone; eyes; eye; tongue; mouth",
    "person": "baby; girl; man; woman; old man; old woman",
    "person-role": "astronaut; firefighter; police officer; detective; guard; construction worker; princess",
    "person-fantasy": "baby angel; Santa Claus; superhero; vampire; mermaid; zombie",
    "person-activity": "person running; woman dancing",
    "person-sport": "skier; snowboarder; person surfing; person lifting weights",
    "person-resting": "person in bed",
    "person-symbol": "footprints",
    "animal-mammal": "monkey face; monkey; gorilla; orangutan; dog face; dog; poodle; wolf; fox; raccoon; cat face; "
                     "cat; lion; tiger face; tiger; horse face; horse; unicorn; zebra; deer; cow face; cow; pig "
                     "face; pig; ram; goat; camel; giraffe; elephant; rhinoceros; hippopotamus; mouse face; mouse; "
                     "hamster; rabbit face; rabbit; chipmunk; hedgehog; bat; bear; polar bear; koala; panda; sloth; "
                     "kangaroo; paw prints",
    "animal-bird": "turkey; chicken; rooster; hatching chick; baby chick; bird; penguin; dove; eagle; duck; swan; "
                   "owl; feather; flamingo; peacock; parrot",
    "animal-amphibian": "frog",
    "animal-reptile": "crocodile; turtle; lizard; snake; dragon face; dragon; sauropod; T-Rex",
    "animal-marine": "whale; dolphin; fish; tropical fish; blowfish; shark; octopus; spiral shell; jellyfish; crab; "
                     "lobster; shrimp; squid",
    "animal-bug": "snail; butterfly; bug; ant; honeybee; lady beetle; spider; spider web; scorpion; mosquito",
    "plant-flower": "bouquet; cherry blossom; rose; wilted flower; hibiscus; sunflower; tulip",
    "plant-other": "seedling; potted plant; evergreen tree; deciduous tree; palm tree; cactus; four leaf clover; "
                   "maple leaf; fallen leaf; mushroom",
    "food-fruit": "grapes; watermelon; tangerine; lemon; banana; pineapple; mango; red apple; green apple; pear; "
                  "peach; cherries; strawberry; blueberries; kiwi fruit; tomato; coconut",
    "food-vegetable": "avocado; eggplant; potato; carrot; ear of corn; hot pepper; cucumber; broccoli; garlic; "
                      "onion; peanuts; chestnut",
    "food-prepared": "bread; croissant; baguette bread; pretzel; pancakes; waffle; cheese wedge; meat on bone; "
                     "poultry leg; bacon; hamburger; french fries; pizza; hot dog; sandwich; taco; burrito; egg; "
                     "cooking; green salad; popcorn",
    "food-asian": "rice ball; steaming bowl; spaghetti; sushi; fried shrimp; dango; dumpling",
    "food-sweet": "soft ice cream; shaved ice; ice cream; doughnut; cookie; birthday cake; shortcake; cupcake; pie; "
                  "chocolate bar; candy; lollipop; custard; honey pot",
    "drink": "baby bottle; glass of milk; hot beverage; teapot; bottle with popping cork; wine glass; cocktail "
             "glass; tropical drink; beer mug; clinking beer mugs; clinking glasses; bubble tea",
    "dishware": "fork and knife with plate; fork and knife; spoon; kitchen knife; amphora",
    "place-map": "globe showing Americas; globe with meridians",
    "place-geographic": "mountain; volcano; mount fuji; desert island",
    "place-building": "classical building; house; factory; castle; Statue of Liberty",
    "place-religious": "church; mosque; synagogue; shinto shrine",
    "place-other": "fountain; tent; carousel horse; ferris wheel; roller coaster; circus tent",
    "transport-ground": "locomotive; bullet train; bus; ambulance; fire engine; police car; taxi; automobile; "
                        "delivery truck; tractor; racing car; motorcycle; motor scooter; bicycle; skateboard; fuel "
                        "pump; police car light; vertical traffic light; stop sign",
    "transport-water": "anchor; sailboat; canoe; ship",
    "transport-air": "airplane; parachute; helicopter; rocket; flying saucer",
    "hotel": "bellhop bell",
    "time": "hourglass done; watch; alarm clock; stopwatch",
    "sky-weather": "full moon; crescent moon; sun; ringed planet; star; shooting star; cloud; sun behind cloud; "
                   "cloud with rain; cloud with lightning; tornado; rainbow; umbrella; high voltage; snowflake; "
                   "snowman without snow; fire; droplet; water wave",
    "event": "jack-o-lantern; Christmas tree; fireworks; firecracker; sparkles; balloon; party popper; ribbon; "
             "wrapped gift",
    "award-medal": "trophy; 1st place medal",
    "sport": "soccer ball; baseball; basketball; volleyball; american football; tennis; bowling; ice hockey; ping "
             "pong; badminton; boxing glove; ice skate; fishing pole; skis",
    "game": "bullseye; yo-yo; kite; pool 8 ball; crystal ball; video game; joystick; game die; puzzle piece; teddy "
            "bear; spade suit",
    "arts-crafts": "performing arts; framed picture; artist palette; yarn",
    "clothing": "glasses; sunglasses; necktie; t-shirt; jeans; scarf; gloves; socks; dress; bikini; handbag; "
                "shopping bags; backpack; running shoe; high-heeled shoe; crown; top hat; graduation cap; lipstick; "
                "ring; gem stone",
    "sound": "speaker high volume; loudspeaker; megaphone; postal horn; bell",
    "music": "musical note; microphone; headphone; radio",
    "musical-instrument": "saxophone; trumpet; guitar; musical keyboard; violin; banjo; drum",
    "phone": "mobile phone; telephone; telephone receiver",
    "computer": "battery; electric plug; laptop; desktop computer; printer; keyboard; computer mouse; floppy disk",
    "light-video": "clapper board; television; camera; magnifying glass tilted left; candle; light bulb; flashlight; "
                   "red paper lantern",
    "book-paper": "closed book; open book; books; scroll; newspaper; bookmark",
    "money": "money bag; dollar banknote; money with wings; credit card",
    "mail": "envelope; package; closed mailbox with raised flag; postbox",
    "writing": "pencil; fountain pen; paintbrush",
    "office": "briefcase; chart increasing; bar chart; pushpin; paperclip; scissors; wastebasket",
    "lock": "locked; unlocked; key",
    "tool": "hammer; axe; crossed swords; bomb; bow and arrow; shield; carpentry saw; wrench; nut and bolt; gear; "
            "balance scale; magnet; ladder",
    "science": "alembic; test tube; dna; microscope; telescope; satellite antenna",
    "medical": "syringe; pill",
    "household": "door; bed; couch and lamp; chair; toilet; shower; bathtub; broom; bucket; shopping cart",
    "other-object": "moai",
    "warning": "warning; radioactive; biohazard",
    "religion": "yin yang; peace symbol",
    "punctuation": "red question mark; red exclamation mark",
    "currency": "heavy dollar sign",
    "other-symbol": "recycling symbol; check mark; cross mark",
}  # fmt: skip

_NOT_WIDE_SUBGROUPS = {"family", "alphanum", "keycap", "arrow", "zodiac", "av-symbol", "gender"}
_NOT_WIDE_LABELS = re.compile(r"facing right|o’clock|-thirty|square button|-small square|medium square|^person: ")
_GENDERED = re.compile(r"200D-264[02]|^1F46[89]-200D")  # man or woman of a person, or a man's or woman's role

# Mirroring would show wrong letters, digits, hands of clocks, maps, notes, or turn a left thing into a right thing.
_FLIP_GROUPS = ("smileys-emotion", "people-body", "animals-nature", "food-drink", "travel-places", "activities",
                "objects")  # fmt: skip
_NO_FLIP_SUBGROUPS = {"time", "place-map", "game", "award-medal", "music", "computer", "book-paper", "money", "mail",
                      "office", "light-video", "phone", "hand-single-finger", "person-role"}  # fmt: skip
_NO_FLIP_WORDS = re.compile(
    r"left|right|facing|tilted|hundred|ZZZ|anger|arrow|sign|bus\b|police|taxi|ambulance|fire engine|oncoming|stop|"
    r"hospital|bank|hotel|school|store|post|office|tower|castle|kaaba|fuel|construction|station|wedding|bank|ticket|"
    r"envelope|moon|soap|salt|canned|beverage|milk|sake|red paper|card|barber|seat|dharma|x-ray|dna|newspaper|radio|"
    r"mahjong|keyboard|piano|scale|abacus|thermometer|battery|gun|speech|letter",
    re.IGNORECASE,
)


def _words(text: str) -> set[str]:
    return {part for part in text.split("; ") if part}


def may_flip(concept: dict[str, Any]) -> bool:
    """Say whether the mirrored picture still shows the same thing; in doubt it says no."""
    return (
        concept["group"] in _FLIP_GROUPS
        and concept["subgroup"] not in _NO_FLIP_SUBGROUPS
        and not _NO_FLIP_WORDS.search(concept["label"])
    )


def in_tier(name: str, concept: dict[str, Any]) -> bool:
    """Say whether the rules put this concept into a tier, however many styles drew it."""
    subgroup, label = concept["subgroup"], concept["label"]
    if name == "core":
        return label in _words(_CORE.get(subgroup, ""))
    if name == "wide":
        odd = subgroup in _NOT_WIDE_SUBGROUPS or _NOT_WIDE_LABELS.search(label) or _GENDERED.search(concept["hexcode"])
        return in_tier("core", concept) or not odd
    return True


def tier(name: str, concepts: list[dict[str, Any]], records: list[dict[str, Any]]) -> list[str]:
    """List the hexcodes of a tier, "core", "wide" or "all", in the order of the concepts."""
    if name not in TIERS:
        raise UserError(f"There is no tier {name!r} of concepts: choose one of {', '.join(TIERS)}.")
    styles = Counter(r["hexcode"] for r in records)
    return [c["hexcode"] for c in concepts if styles[c["hexcode"]] >= _LEAST_STYLES[name] and in_tier(name, c)]


def unknown_labels(concepts: list[dict[str, Any]]) -> list[str]:
    """List the core's labels that no concept of that subgroup has: a misspelling would silently do nothing."""
    known: dict[str, set[str]] = {}
    for c in concepts:
        known.setdefault(c["subgroup"], set()).add(c["label"])
    rows = [(s, w) for s, text in _CORE.items() for w in sorted(_words(text))]
    return [f"{s}: {w}" for s, w in rows if w not in known.get(s, set())]
