package marathon

import (
	"slices"
	"time"
)

// Marathon asks its authorization plugin about each group, app and pod, and
// leaves out silently what the user may not view: an app of which we lost sight
// looks as if it had been deleted. That its tasks go on running tells the two
// apart, in time: those of a deleted app end.

// hiddenAfter is how long an app's tasks must run without Marathon showing it:
// far longer than most tasks take to end. Unlike the log, a warning may be
// mended later.
const hiddenAfter = 10 * time.Minute

// named is how many hidden apps are named.
const named = 5

// lookForHidden compares what Marathon shows with what Mesos runs for it, and
// says once that something is missing, and once that nothing is any more.
func (s *Source) lookForHidden() {
	m := s.mirror.Picture().Marathon
	if m == nil {
		return
	}
	now := s.cfg.Now()
	absent := map[string]time.Time{}
	var hidden []string
	for _, app := range s.cfg.Running(m.Framework) {
		if _, shown := s.mirror.Picture().Apps[app]; shown {
			continue
		}
		since, was := s.absent[app]
		if !was {
			since = now
		}
		absent[app] = since
		if now.Sub(since) >= hiddenAfter {
			hidden = append(hidden, app)
		}
	}
	s.absent = absent
	slices.Sort(hidden)
	n, before := len(hidden), 0
	hidden = hidden[:min(n, named)]
	s.board.Update(func(st *Status) {
		before = st.Hidden
		st.Hidden, st.HiddenApps = n, hidden
	})
	switch {
	case n > 0 && before == 0:
		s.log.Warn("marathon: tasks run whose apps are not shown: may this user view all groups, apps and pods (ViewGroup, ViewRunSpec)?",
			"apps", n, "first", hidden)
	case n == 0 && before > 0:
		s.log.Info("marathon: all apps whose tasks run are shown again")
	}
}

// forbidden notes that something may not be viewed: nothing is known of it, not
// even that it is gone. It must not cost the session: events tell of it as well.
func (s *Source) forbidden(err error) error {
	s.board.Update(func(st *Status) { st.Counters.Forbidden++ })
	if s.odd.New(err.Error(), s.cfg.Now()) {
		s.log.Warn("marathon: events tell of something that this user may not view", "error", err)
	}
	return nil
}
