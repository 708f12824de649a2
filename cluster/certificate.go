package cluster

import (
	"context"
	"time"
)

// renewCertificate replaces the node's certificate in time. Every server node
// has the cluster key, hence the CA: nobody need be asked.
func (c *Cluster) renewCertificate(ctx context.Context) error {
	tick := time.NewTicker(certificateCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.ready:
			if err := c.renewIfDue(time.Now()); err != nil {
				c.log.Error("certificate not renewed", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *Cluster) renewIfDue(now time.Time) error {
	id := c.identity.p.Load()
	if !id.renewDue(now) {
		return nil
	}
	ca, err := c.authority()
	if err != nil {
		return err
	}
	if err := id.renew(ca, now); err != nil {
		return err
	}
	c.log.Info("certificate renewed", "until", id.cert.Load().Leaf.NotAfter)
	return nil
}

// authority is the cluster's CA, once the identity is in the state.
func (c *Cluster) authority() (*authority, error) {
	id := c.identity.p.Load()
	replicated, ok := c.state.Identity()
	if id == nil || !ok {
		return nil, ErrNotReady
	}
	return openAuthority(replicated, id.clusterKey)
}
