// The script of each character of a JSON string, in the words of Unicode; empty for a character that node does not know,
// and for those that several scripts have.
import { readFileSync } from "node:fs";

const NAMES = `Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki Bopomofo
Brahmi Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Coptic Cuneiform Cypriot
Cypro_Minoan Cyrillic Deseret Devanagari Dogra Egyptian_Hieroglyphs Elbasan Ethiopic Georgian Glagolitic Gothic Grantha Greek
Gujarati Gurmukhi Han Hangul Hanunoo Hatran Hebrew Hiragana Javanese Kaithi Kannada Katakana Kharoshthi Khmer Lao Latin Lepcha
Limbu Linear_A Linear_B Lisu Lycian Lydian Malayalam Mandaic Manichaean Meetei_Mayek Miao Modi Mongolian Mro Multani Myanmar
New_Tai_Lue Newa Nko Nushu Ogham Ol_Chiki Old_Hungarian Old_Italic Old_Persian Old_Turkic Oriya Osage Osmanya Phags_Pa
Phoenician Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham Sinhala Sogdian Sundanese Syloti_Nagri Syriac Tagalog
Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Ugaritic Vai Warang_Citi Yi`;
const PATTERNS = NAMES.split(/\s+/).map((name) => [name, new RegExp(`\\p{Script=${name}}`, "u")]);

const script = (char) => (PATTERNS.find(([, pattern]) => pattern.test(char)) ?? [""])[0];
process.stdout.write(JSON.stringify(Array.from(JSON.parse(readFileSync(0, "utf8")), script)));
