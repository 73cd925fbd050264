package automation

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// template is a shell text cut at its placeholders: texts[i] stands before
// params[i], and the last text after all of them.
type template struct {
	texts  []string
	params []string
}

var placeholderRE = regexp.MustCompile(`\{\{[^{}]*\}\}`)

// parseTemplate cuts a shell text at its {{name}}. A placeholder becomes a
// single-quoted word, which is safe only where the shell would begin such a
// word: not inside quotes, a substitution, arithmetic, a comment or a here
// document, and not behind a backslash or a dollar. Anywhere else is an error.
func parseTemplate(shell string) (template, error) {
	var t template
	at := placeholderRE.FindAllStringIndex(shell, -1)
	if len(at) == 0 {
		return template{texts: []string{shell}}, nil
	}
	if strings.Contains(shell, "<<") {
		return t, errors.New("a command with a parameter may not hold << (the shell would read the value again)")
	}
	end := 0
	var scan shellScanner
	for _, m := range at {
		name := strings.TrimSpace(shell[m[0]+2 : m[1]-2])
		if !nameRE.MatchString(name) {
			return t, fmt.Errorf("%s is not a parameter", shell[m[0]:m[1]])
		}
		text := shell[end:m[0]]
		scan.feed(text)
		if where := scan.unsafe(); where != "" {
			return t, fmt.Errorf("{{%s}} stands %s; it is quoted by itself and must stand outside", name, where)
		}
		scan.word()
		t.texts = append(t.texts, text)
		t.params = append(t.params, name)
		end = m[1]
	}
	t.texts = append(t.texts, shell[end:])
	return t, nil
}

func (t template) names() []string { return slices.Compact(slices.Sorted(slices.Values(t.params))) }

// Render puts values into a shell text. Each value becomes one word in single
// quotes, in which a POSIX shell knows no special character; a single quote in
// the value ends the quotes, stands escaped, and begins them again.
// A command that evaluates its arguments once more (eval, sh -c, ssh, the
// arithmetic of [[ -eq ]]) undoes this: constrain such a parameter by its pattern.
func Render(shell string, values map[string]string) (string, error) {
	t, err := parseTemplate(shell)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, name := range t.params {
		v, ok := values[name]
		if !ok {
			return "", fmt.Errorf("parameter %q has no value", name)
		}
		if strings.ContainsRune(v, 0) {
			return "", fmt.Errorf("parameter %q: a NUL cannot be part of a command", name)
		}
		b.WriteString(t.texts[i])
		b.WriteString(quote(v))
	}
	b.WriteString(t.texts[len(t.texts)-1])
	return b.String(), nil
}

func quote(v string) string { return "'" + strings.ReplaceAll(v, "'", `'\''`) + "'" }

// shellScanner follows just so much of the shell's grammar that it knows
// whether a quoted word may begin here. Where in doubt it says no.
type shellScanner struct {
	quote   byte // ' or " or ` while inside, else 0
	depth   int  // nesting of $(, ${ and ((
	escaped bool // a backslash stands right before
	dollar  bool // a dollar stands right before
	comment bool
	inWord  bool
	nested  bool // a substitution stood inside double quotes: what follows is not known
	doubt   bool // something stood before that shells or this scanner may read in two ways
	prev    byte
}

func (s *shellScanner) feed(text string) {
	for i := range len(text) {
		s.step(text[i])
		s.prev = text[i]
	}
}

// word notes that a placeholder's word stands here.
func (s *shellScanner) word() { s.inWord, s.dollar, s.prev = true, false, 'w' }

func (s *shellScanner) step(c byte) {
	dollar := s.dollar
	s.dollar = false
	switch {
	case s.comment:
		if c == '\n' {
			s.comment, s.inWord = false, false
		}
		return
	case s.escaped:
		s.escaped, s.inWord = false, true
		return
	case s.quote == '\'':
		if c == '\'' {
			s.quote = 0
		}
		return
	case c == '\\':
		s.escaped = true
		return
	case s.quote != 0:
		if c == s.quote {
			s.quote = 0
		}
		s.dollar = c == '$'
		s.nested = s.nested || s.quote == '"' && (c == '`' || dollar && (c == '(' || c == '{'))
		return
	}
	s.unquoted(c, dollar)
}

func (s *shellScanner) unquoted(c byte, dollar bool) {
	switch c {
	case '\'', '"', '`':
		s.doubt = s.doubt || dollar && c != '`' // $'...' has other rules where a shell knows it
		s.quote, s.inWord = c, true
	case '$':
		s.dollar, s.inWord = true, true
	case '(', '{':
		if dollar || s.depth > 0 || c == '(' && s.prev == '(' {
			s.depth++
		}
		s.inWord = false
	case ')', '}':
		s.depth = max(0, s.depth-1)
	case '#':
		// A comment's, or a word's?
		s.doubt = s.doubt || s.prev == ')' || s.prev == '}' || s.prev == '{' && s.depth == 0 || s.depth > 0 && !s.inWord && s.prev != '{'
		s.comment = !s.inWord && s.depth == 0
		s.inWord = true
	case ' ', '\t', '\n', ';', '&', '|', '<', '>':
		s.inWord = false
	default:
		s.inWord = true
	}
}

// unsafe says what is wrong with a word beginning here, or nothing.
func (s *shellScanner) unsafe() string {
	switch {
	case s.nested:
		return "behind a substitution between double quotes"
	case s.doubt:
		return "behind a # next to a bracket, or a $ before a quote, which shells read in different ways"
	case s.comment:
		return "in a comment"
	case s.quote == '`':
		return "between backquotes"
	case s.quote != 0:
		return "between quotes"
	case s.depth > 0:
		return "inside a substitution or an expression"
	case s.escaped:
		return "behind a backslash"
	case s.dollar:
		return "behind a dollar"
	}
	return ""
}
