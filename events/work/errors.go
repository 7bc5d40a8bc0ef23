package work

import "errors"

// ErrGap means that items of a host are missing: the host must ask for its
// whole picture.
var ErrGap = errors.New("items are missing")
