# Where RDO's package has the services' policies. Without them the dashboard offers everybody
# everything, for the services to refuse.
POLICY_FILES_PATH = "/etc/openstack-dashboard"
