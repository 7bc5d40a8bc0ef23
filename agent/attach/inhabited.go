package attach

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Inhabited says whether a process other than this one lives in the network
// namespace at the path. It looks at each process of the machine: for rare
// questions.
func Inhabited(namespace string) bool {
	its, ok := inodeOf(namespace)
	return ok && anyNamespace(func(ns inode, _ string) bool { return ns == its })
}

// InhabitedBehind is Inhabited for the namespace with the other end of a pair.
func (h *Host) InhabitedBehind(veth string) bool {
	link, err := h.rt.do(getLink(veth))
	return err == nil && link.away >= 0 && anyNamespace(func(_ inode, path string) bool {
		ns, err := os.Open(path)
		if err != nil {
			return false // its process has just ended
		}
		defer ns.Close()
		id, err := h.nl.GetNetNsIdByFd(int(ns.Fd()))
		return err == nil && id == link.away
	})
}

// anyNamespace says whether one of the network namespaces in which processes
// other than this one live is the one. Each is asked about once.
func anyNamespace(is func(inode, string) bool) bool {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	asked := map[inode]bool{}
	for _, p := range procs {
		if pid, err := strconv.Atoi(p.Name()); err != nil || pid == os.Getpid() {
			continue
		}
		path := "/proc/" + p.Name() + "/ns/net"
		ns, ok := inodeOf(path)
		if !ok || asked[ns] {
			continue
		}
		if asked[ns] = true; is(ns, path) {
			return true
		}
	}
	return false
}

// inode tells namespaces apart.
type inode struct{ dev, ino uint64 }

func inodeOf(path string) (inode, bool) {
	var st unix.Stat_t
	if path == "" || unix.Stat(path, &st) != nil {
		return inode{}, false
	}
	return inode{st.Dev, st.Ino}, true
}
