package consul

// SetZone changes MemberConfig.Zone, also in the registration. Safe for concurrent use; it never blocks.
func (m *Member) SetZone(zone string) {
	m.mu.Lock()
	same := m.zone == zone
	m.zone, m.zoneNew = zone, m.zoneNew || !same
	m.mu.Unlock()
	if !same {
		notify(m.serviceNews)
	}
}

// Zone is that of the moment. Safe for concurrent use.
func (m *Member) Zone() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.zone
}

// takeZoneNew reports whether the zone has changed since it was asked last.
func (m *Member) takeZoneNew() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.zoneNew
	m.zoneNew = false
	return was
}
