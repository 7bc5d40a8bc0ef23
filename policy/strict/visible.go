package strict

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Visible is a text of somebody else's with each character that cannot be seen,
// or by which the others show otherwise than they are, written as in JSON, such
// as \u202e. The characters in but stay as they are.
func Visible(s, but string) string {
	unseen := func(r rune) bool {
		return (unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)) && !strings.ContainsRune(but, r)
	}
	if strings.IndexFunc(s, unseen) < 0 {
		return s
	}
	var out strings.Builder
	for _, r := range s {
		if !unseen(r) {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	return out.String()
}
