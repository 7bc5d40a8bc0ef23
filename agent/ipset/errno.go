package ipset

import (
	"errors"

	"golang.org/x/sys/unix"
)

// The ipset subsystem has error numbers of its own from 4096 on
// (enum ipset_errno); these are the ones that we tell apart.
const (
	errBusy  = 4100 // IPSET_ERR_BUSY
	errOther = 4102 // IPSET_ERR_TYPE_MISMATCH
	errFull  = 4352 // IPSET_ERR_HASH_FULL
)

// errorNumber is the number of the kernel's error in err, or 0.
func errorNumber(err error) int {
	var no unix.Errno
	if errors.As(err, &no) {
		return int(no)
	}
	return 0
}
