// Optional: a private endpoint of the app, for the incident page, health and run, and for deployments.
param location string
param tags { *: string }
param token string

@description('Name of the app.')
param appName string

@description('Subnet of the endpoint.')
param subnetId string

@description('Network that asks the own zone.')
param networkId string

@description('Resource group with central DNS zones; an own zone if empty, no record if "policy".')
param dnsZonesId string

@description('Zone of the app\'s name.')
param zoneName string

resource app 'Microsoft.Web/sites@2025-03-01' existing = {
  name: appName
}

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = if (empty(dnsZonesId)) {
  name: zoneName
  location: 'global'
  tags: tags
}

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = if (empty(dnsZonesId)) {
  parent: zone
  name: 'link-${token}'
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: { id: networkId }
  }
}

resource privateEndpoint 'Microsoft.Network/privateEndpoints@2025-09-01' = {
  name: 'pe-page-${token}'
  location: location
  tags: tags
  properties: {
    subnet: { id: subnetId }
    privateLinkServiceConnections: [
      {
        name: 'page'
        properties: {
          privateLinkServiceId: app.id
          groupIds: ['sites']
        }
      }
    ]
  }
}

resource record 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-09-01' = if (dnsZonesId != 'policy') {
  parent: privateEndpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: 'page'
        properties: {
          privateDnsZoneId: empty(dnsZonesId)
            ? zone.id
            : '${dnsZonesId}/providers/Microsoft.Network/privateDnsZones/${zoneName}'
        }
      }
    ]
  }
}
