package marathon

import (
	"time"

	"github.com/taskwall/taskwall/events"
)

// posted is an app's version as it was posted. The deployment that brings it
// has the same version, perhaps written in another way (CLUSTER-API 1.3); which of
// the two events comes first is not said (CLUSTER-API 1.5).
type posted struct {
	app     string
	version time.Time
}

// maxPosted bounds the posts that wait for their deployment; one that never
// comes changed nothing.
const maxPosted = 1000

// postedBy notes who posted a version of an app.
func (s *Source) postedBy(p posted, client string) {
	if p.version.IsZero() || client == "" {
		return
	}
	for _, id := range events.SortedKeys(s.mirror.Picture().Deployments) {
		d := s.mirror.Picture().Deployments[id]
		for _, app := range d.Apps {
			if d.Client == "" && p == (posted{app, timestamp(d.Version)}) {
				d.Client = client
				s.mirror.PutDeployment(d, time.Time{})
				return
			}
		}
	}
	if len(s.clients) >= maxPosted {
		clear(s.clients)
	}
	s.clients[p] = client
}

// clientOf is who asked for a deployment, or "".
func (s *Source) clientOf(d *events.Deployment) string {
	if known, had := s.mirror.Picture().Deployments[d.ID]; had {
		return known.Client
	}
	for _, app := range d.Apps {
		p := posted{app, timestamp(d.Version)}
		if client, is := s.clients[p]; is {
			delete(s.clients, p)
			return client
		}
	}
	return ""
}
