package canon

import "time"

// utc reads a time as time.Time.MarshalJSON writes it of one in UTC. It takes no
// other, not even where it is a time, too.
func utc(s []byte) (t time.Time, ok bool) {
	const form = "0000-00-00T00:00:00"
	if len(s) < len(form)+1 || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[len(s)-1] != 'Z' {
		return t, false
	}
	ok = true
	two := func(i int) int {
		tens, ones := s[i]-'0', s[i+1]-'0'
		ok = ok && tens <= 9 && ones <= 9
		return int(tens)*10 + int(ones)
	}
	year, month, day := two(0)*100+two(2), two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	if !ok || month < 1 || month > 12 || day < 1 || day > 28 && day > days(year, month) || hour > 23 || minute > 59 || second > 59 {
		return t, false
	}
	nanos := 0
	if part := s[len(form) : len(s)-1]; len(part) > 0 {
		if part[0] != '.' || len(part) < 2 || len(part) > 10 {
			return t, false
		}
		for i := 1; i < 10; i++ {
			nanos *= 10
			if i < len(part) {
				if part[i] < '0' || part[i] > '9' {
					return t, false
				}
				nanos += int(part[i] - '0')
			}
		}
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC), true
}

func days(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// Time reads a time from its text (RFC 3339), as time.Time.UnmarshalText does.
func Time(s []byte) (time.Time, error) {
	if t, ok := utc(s); ok {
		return t, nil
	}
	var t time.Time
	err := t.UnmarshalText(s)
	return t, err
}
