"""The words that captions are made of: named colours, style words in other languages, articles, backgrounds."""

from __future__ import annotations

# Backgrounds by name, in 0…255. Black is left out because line art is black.
COLOURS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("red", (220, 38, 38)),
    ("orange", (255, 150, 30)),
    ("yellow", (255, 225, 60)),
    ("green", (50, 160, 70)),
    ("turquoise", (64, 205, 200)),
    ("blue", (45, 100, 225)),
    ("purple", (128, 60, 180)),
    ("pink", (255, 160, 200)),
    ("brown", (125, 78, 45)),
    ("grey", (145, 145, 145)),
    ("white", (255, 255, 255)),
)

# Style words in the order 3d, gradient, flat, mono, noto, twemoji, emojione. English has the words of SOURCES.
STYLE_WORDS: dict[str, tuple[str, ...]] = {
    "de": ("3D", "glänzend", "flach", "Strichzeichnung", "Cartoon", "minimalistisch", "Pastell"),
    "fr": ("3D", "brillant", "plat", "dessin au trait", "dessin animé", "minimaliste", "pastel"),
    "es": ("3D", "brillante", "plano", "dibujo lineal", "caricatura", "minimalista", "pastel"),
    "it": ("3D", "lucido", "piatto", "disegno al tratto", "cartone animato", "minimalista", "pastello"),
    "pt": ("3D", "brilhante", "plano", "arte de linha", "desenho animado", "minimalista", "pastel"),
    "nl": ("3D", "glanzend", "plat", "lijntekening", "cartoon", "minimalistisch", "pastel"),
    "sv": ("3D", "blank", "platt", "streckteckning", "tecknad", "minimalistisk", "pastell"),
    "pl": ("3D", "błyszczący", "płaski", "rysunek liniowy", "kreskówka", "minimalistyczny", "pastelowy"),
    "ru": ("3D", "глянцевый", "плоский", "контурный рисунок", "мультяшный", "минималистичный", "пастельный"),
    "uk": ("3D", "глянцевий", "плаский", "контурний малюнок", "мультяшний", "мінімалістичний", "пастельний"),
    "ja": ("3D", "光沢", "フラット", "線画", "カートゥーン", "ミニマル", "パステル"),
    "zh": ("3D", "光泽", "扁平", "线稿", "卡通", "极简", "粉彩"),
    "ko": ("3D", "광택", "플랫", "선화", "만화", "미니멀", "파스텔"),
}
LANGUAGES = ("en", *STYLE_WORDS)

# Every article is tried with every noun, so that right and wrong gender both work.
ARTICLES: dict[str, tuple[str, ...]] = {
    "de": ("ein", "eine"),
    "fr": ("un", "une"),
    "es": ("un", "una"),
    "it": ("un", "una"),
    "pt": ("um", "uma"),
    "nl": ("een",),
    "sv": ("en", "ett"),
}

# "{label} on a ... background", with the colours' words in the order of COLOURS.
BACKGROUNDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "de": ("{} auf {} Hintergrund", ("rotem", "orangem", "gelbem", "grünem", "türkisem", "blauem", "violettem",
                                     "rosafarbenem", "braunem", "grauem", "weißem")),
    "fr": ("{} sur fond {}", ("rouge", "orange", "jaune", "vert", "turquoise", "bleu", "violet", "rose", "marron",
                              "gris", "blanc")),
    "es": ("{} sobre fondo {}", ("rojo", "naranja", "amarillo", "verde", "turquesa", "azul", "morado", "rosa",
                                 "marrón", "gris", "blanco")),
    "it": ("{} su sfondo {}", ("rosso", "arancione", "giallo", "verde", "turchese", "blu", "viola", "rosa",
                               "marrone", "grigio", "bianco")),
    "pt": ("{} sobre fundo {}", ("vermelho", "laranja", "amarelo", "verde", "turquesa", "azul", "roxo", "rosa",
                                 "marrom", "cinza", "branco")),
    "ru": ("{} на {} фоне", ("красном", "оранжевом", "жёлтом", "зелёном", "бирюзовом", "синем", "фиолетовом",
                             "розовом", "коричневом", "сером", "белом")),
    "ja": ("{}、{}の背景", ("赤", "オレンジ", "黄色", "緑", "ターコイズ", "青", "紫", "ピンク", "茶色", "灰色", "白")),
    "zh": ("{}，{}背景", ("红色", "橙色", "黄色", "绿色", "青绿色", "蓝色", "紫色", "粉色", "棕色", "灰色", "白色")),
}  # fmt: skip

# Words that take no article in English though they do not look like plurals.
NO_ARTICLE = {
    "ZZZ", "bacon", "bread", "broccoli", "bubble tea", "garlic", "popcorn", "spaghetti", "sushi", "ice hockey",
    "ping pong", "tennis", "badminton", "bowling", "horse racing", "Santa Claus", "mount fuji", "dna", "yarn",
    "high voltage", "performing arts", "love-you gesture", "cooking", "nail polish", "Tokyo tower", "salt", "butter",
}  # fmt: skip
