// Timer schedules as the Functions host takes them: NCRONTAB with five or six fields. detection/base/ncrontab.py has the
// same rules with their sources, and a test compares both. Both refuse an interval (hh:mm:ss), which needs an App Service
// plan.

type field = {
  low: int
  high: int
  @description('Names of the values, from the lowest.')
  words: string[]
}

@export()
@description('Whether the host takes a schedule. Of five fields, the first is the minutes.')
func isSchedule(text string) bool => fieldsFit(filter(split(text, ' '), part => !empty(part)))

func fieldsFit(texts string[]) bool =>
  contains([5, 6], length(texts))
    ? empty(filter(range(0, length(texts)), i => !fieldFits(texts[i], fields()[i + 6 - length(texts)])))
    : false

func fieldFits(text string, field field) bool => empty(filter(split(text, ','), part => !partFits(part, field)))

func fields() field[] => [
  { low: 0, high: 59, words: [] } // seconds
  { low: 0, high: 59, words: [] } // minutes
  { low: 0, high: 23, words: [] } // hours
  { low: 1, high: 31, words: [] } // days
  {
    low: 1
    high: 12
    words: split('january february march april may june july august september october november december', ' ')
  }
  { low: 0, high: 6, words: split('sunday monday tuesday wednesday thursday friday saturday', ' ') }
]

@description('Whether a part of a field, between two commas, is *, a value or a range, with a step or without.')
func partFits(part string, field field) bool =>
  length(split(part, '/')) == 1
    ? rangeFits(part, field)
    : length(split(part, '/')) == 2 ? rangeFits(split(part, '/')[0], field) && isStep(split(part, '/')[1]) : false

func rangeFits(text string, field field) bool =>
  text == '*' || (length(split(text, '-')) < 3 && empty(filter(split(text, '-'), bound => !valueFits(bound, field))))

func valueFits(text string, field field) bool =>
  isNumber(text)
    ? int(text) >= field.low && int(text) <= field.high
    : !empty(text) && !empty(filter(field.words, word => startsWith(word, text)))

func isStep(text string) bool =>
  startsWith(text, '+') || startsWith(text, '-') ? isNumber(substring(text, 1)) : isNumber(text)

func isNumber(text string) bool =>
  !empty(text) && length(text) < 10 && empty(join(split(text, ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']), ''))
